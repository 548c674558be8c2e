//! A server: keeps the settings on disk, and carries out what the command line asks for.

use std::{path::Path, sync::Arc, time::Duration};

use mosaik::{
    CollectionConfig, FunctionHandler,
    collections::{Error, OrderedMapReader, OrderedMapWriter, Version},
};
use serde::{Deserialize, Serialize};

use crate::{
    node::{Address, NodeOptions},
    stop,
};

/// Id by which nodes find the collection: any node that knows it can be a member.
pub(crate) const SETTINGS: &str = "example/config";

/// Ample for the choice of another leader.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) type Settings = OrderedMapReader<String, String>;

mosaik::function!(
    /// Sets a key; replies with the version.
    pub(crate) Set = (String, String) -> Result<Version, Refusal>, "example/config/set",
    timeout: TIMEOUT,
);

mosaik::function!(
    /// The value of a key, and the version that set it.
    pub(crate) Get = String -> Result<Option<(String, Version)>, Refusal>, "example/config/get",
    timeout: TIMEOUT,
    // The others may not: done again, they could undo what somebody else set in between.
    idempotent: true,
);

mosaik::function!(
    /// Deletes a key; replies with the value that it had.
    pub(crate) Delete = String -> Result<Option<String>, Refusal>, "example/config/delete",
    timeout: TIMEOUT,
);

/// Reasons for which a server did not do as asked.
#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("it may have taken effect, or still may: look at the key before you try again")]
    Unknown,
    #[error("{0}")]
    Failed(String),
}

pub(crate) async fn run(options: &NodeOptions, storage: &Path) -> anyhow::Result<()> {
    let network = options.start(Some(storage)).await?;
    println!("ready as {}", Address::of(&network));
    // Two of three must have met before there are settings, and be there for each change: one that
    // starts alone waits, instead of beginning a history of its own.
    let config = CollectionConfig::default().durable().with_min_writers(2);
    let settings = OrderedMapWriter::writer_with_config(&network, SETTINGS, config);
    let settings = Arc::new(settings);

    let map = settings.clone();
    let _set = Set::handler(&network, move |pair, _| set(map.clone(), pair))?;
    let map = settings.clone();
    let _get = Get::handler(&network, move |key, _| get(map.clone(), key))?;
    let map = settings.clone();
    let _delete = Delete::handler(&network, move |key, _| delete(map.clone(), key))?;

    let told = async {
        loop {
            settings.when().online().await;
            println!("online with {} settings", settings.len());
            settings.when().offline().await;
            println!("offline");
        }
    };
    tokio::select! {
        () = told => {}
        ended = stop::requested() => ended?,
    }
    network.shutdown().await;
    Ok(())
}

type Writer = Arc<OrderedMapWriter<String, String>>;

async fn set(settings: Writer, mut pair: (String, String)) -> Result<Version, Refusal> {
    // Ends with the call: its caller does not wait for ever.
    loop {
        settings.when().online().await;
        match settings.insert(pair.0, pair.1).await {
            Ok(version) => return Ok(version),
            // It had no effect, and another leader may be there soon.
            Err(Error::Offline(again)) => pair = again,
            Err(error) => return Err(refusal(&error)),
        }
    }
}

async fn get(settings: Writer, key: String) -> Result<Option<(String, Version)>, Refusal> {
    // So that whoever has set a key reads it, whichever server answers.
    settings.sync().await.map_err(|error| refusal(&error))?;
    Ok(settings.get_versioned(&key))
}

async fn delete(settings: Writer, mut key: String) -> Result<Option<String>, Refusal> {
    loop {
        settings.when().online().await;
        match settings.remove_returning(&key).await {
            Ok(removed) => return Ok(removed.value),
            Err(Error::Offline(again)) => key = again,
            Err(error) => return Err(refusal(&error)),
        }
    }
}

fn refusal<T>(error: &Error<T>) -> Refusal {
    match error {
        Error::Unknown(_) => Refusal::Unknown,
        other => Refusal::Failed(other.to_string()),
    }
}
