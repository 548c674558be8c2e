//! A reader: prints the settings, and then what changes.

use mosaik::collections::{Event, OrderedMapSnapshot};

use crate::{
    node::NodeOptions,
    server::{SETTINGS, Settings},
    stop,
};

pub(crate) async fn run(options: &NodeOptions, prefix: &str) -> anyhow::Result<()> {
    let network = options.start(None).await?;
    let settings = Settings::reader(&network, SETTINGS);
    tokio::select! {
        () = follow(&settings, prefix) => {}
        ended = stop::requested() => ended?,
    }
    network.shutdown().await;
    Ok(())
}

// ANCHOR: follow
async fn follow(settings: &Settings, prefix: &str) {
    settings.when().online().await;
    let mut watch = settings.watch_prefix(prefix);
    print_all(watch.snapshot());
    while let Some(event) = watch.recv().await {
        match event {
            Event::Changed { changes, .. } => {
                for change in changes.iter() {
                    match change.new() {
                        Some(value) => println!("{} = {value}", change.key()),
                        None => println!("{} is deleted", change.key()),
                    }
                }
            }
            // Something was missed, or belongs to a history that was given up: all of it, anew.
            Event::Lagged { now, .. } | Event::Reset { now, .. } => print_all(&now),
            _ => {}
        }
    }
}
// ANCHOR_END: follow

fn print_all(settings: &OrderedMapSnapshot<String, String>) {
    println!(
        "{} settings, version {}",
        settings.len(),
        settings.version()
    );
    for (key, value) in settings.iter() {
        println!("{key} = {value}");
    }
}
