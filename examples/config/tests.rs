//! The service as its users run it: a process for each role.

use clap::Parser;

use self::process::Process;

#[path = "../common/process.rs"]
mod process;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the program that the other tests start"]
async fn program() {
    if let Some(arguments) = process::arguments() {
        let arguments = crate::Arguments::parse_from(arguments);
        if let Err(error) = crate::run(arguments).await {
            eprintln!("Error: {error:#}");
            std::process::exit(1);
        }
    }
}

/// Three servers; any may be killed and started again.
struct Servers {
    network: String,
    storage: Vec<tempfile::TempDir>,
    running: Vec<Option<Process>>,
    addresses: Vec<String>,
}

impl Servers {
    async fn start() -> Self {
        let mut servers = Self {
            network: format!("config-{:016x}", rand::random::<u64>()),
            storage: (0..3).map(|_| tempfile::tempdir().unwrap()).collect(),
            running: vec![None, None, None],
            addresses: Vec::new(),
        };
        for number in 0..3 {
            servers.start_one(number).await;
        }
        for number in 0..3 {
            servers.online(number).await;
        }
        servers
    }

    async fn start_one(&mut self, number: usize) {
        let storage = self.storage[number].path().to_str().unwrap().to_owned();
        let mut server = Process::start(self.with_node(&["server", "--storage", &storage]));
        let address = server.line("ready as ").await;
        self.addresses.push(address);
        self.running[number] = Some(server);
    }

    async fn online(&mut self, number: usize) {
        let server = self.running[number].as_mut().unwrap();
        server.line("online with ").await;
    }

    async fn kill(&mut self, number: usize) {
        self.running[number].take().unwrap().kill().await;
    }

    /// The arguments of a process of this network.
    fn with_node<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = arguments.to_vec();
        all.extend(["--network", &self.network]);
        for address in &self.addresses {
            all.extend(["--bootstrap", address]);
        }
        all
    }

    /// Runs a command until it succeeds: one that a lost leader had may not be known to have taken
    /// effect.
    async fn run(&self, arguments: &[&str]) -> String {
        for _ in 0..5 {
            let (output, success) = Process::run(self.with_node(arguments)).await;
            if success {
                return output;
            }
        }
        panic!("{arguments:?} does not succeed");
    }
}

#[tokio::test]
async fn readers_follow_while_servers_are_killed_and_come_back() {
    let mut servers = Servers::start().await;
    servers.run(&["set", "app/colour", "red"]).await;
    let mut reader = Process::start(servers.with_node(&["follow", "app/"]));
    assert_eq!(reader.line("app/colour = ").await, "red");

    servers.kill(2).await;
    servers.run(&["set", "other/key", "1"]).await;
    servers.run(&["set", "app/colour", "green"]).await;
    assert_eq!(reader.line("app/colour = ").await, "green");
    assert!(reader.seen("other/").is_empty(), "{reader:?}");

    // The one that comes back has what it missed: with it there is a majority.
    servers.start_one(2).await;
    servers.online(2).await;
    servers.kill(0).await;
    let told = servers.run(&["get", "app/colour"]).await;
    assert!(told.contains("app/colour = green"), "{told}");
    servers.run(&["set", "app/colour", "blue"]).await;
    assert_eq!(reader.line("app/colour = ").await, "blue");
    servers.run(&["del", "app/colour"]).await;
    reader.line("app/colour is deleted").await;
    let (_, success) = Process::run(servers.with_node(&["get", "app/colour"])).await;
    assert!(!success, "it has no value");
}

#[tokio::test]
async fn settings_outlive_all_servers() {
    let mut servers = Servers::start().await;
    servers.run(&["set", "app/colour", "red"]).await;
    for number in 0..3 {
        servers.kill(number).await;
    }
    servers.addresses.clear();
    for number in 0..3 {
        servers.start_one(number).await;
    }
    let told = servers.run(&["get", "app/colour"]).await;
    assert!(told.contains("app/colour = red"), "{told}");
}
