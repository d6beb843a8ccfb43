//! Which listeners the broker opens and which addresses clients are told, from the four properties that say so.
//!
//! Owns the rules between them (Kafka's, and the derivation that the Docker images' users rely on). Opening sockets is
//! for `net`; changing advertised addresses while running is for the control plane.

use std::collections::BTreeMap;

use protocol::listener::{Listener, SecurityProtocol, parse_listeners, parse_protocol_map};

use super::settings::Settings;

/// What `net` opens and what Metadata answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    /// What to bind. An empty host is every address; port 0 lets the system choose.
    pub listen: Vec<Listener>,
    /// What clients are told, one for each of `listen`, in the same order. Port 0: the port that was bound.
    pub advertised: Vec<Listener>,
    /// How each listener of `listen` is secured, by its name.
    pub security: BTreeMap<String, SecurityProtocol>,
    /// The listener whose advertised address other brokers use.
    pub inter_broker: String,
}

impl ListenerOptions {
    /// The advertised address of a listener.
    pub fn advertised(&self, name: &str) -> Option<&Listener> {
        self.advertised.iter().find(|listener| listener.name == name)
    }
}

/// Works the listeners out. `hostname` is what to tell clients of a listener that is bound to every address and has no
/// advertised address. Mistakes go into `settings.errors`.
pub(super) fn resolve(settings: &mut Settings, hostname: &str) -> Option<ListenerOptions> {
    let controllers = words(settings.text("controller.listener.names").unwrap_or(""));
    let mut listen = parsed(settings, "listeners")?;
    let mut advertised = parsed(settings, "advertised.listeners")?;
    let explicit = settings.given("listeners").is_some();
    if !explicit && !advertised.is_empty() {
        listen = derive(settings, &advertised)?;
    }
    drop_controllers(settings, &controllers, &mut listen);
    advertised.retain(|listener| !controllers.contains(&listener.name));
    if listen.is_empty() {
        settings.refuse(
            "listeners",
            "a listener for clients is needed beside those of controller.listener.names",
        );
        return None;
    }
    let security = secure(settings, &listen)?;
    let advertised = advertise(settings, &listen, advertised, hostname)?;
    let inter_broker = inter_broker(settings, &listen, &security)?;
    Some(ListenerOptions {
        listen,
        advertised,
        security,
        inter_broker,
    })
}

fn words(text: &str) -> Vec<String> {
    text.split(',')
        .map(|word| word.trim().to_ascii_uppercase())
        .filter(|word| !word.is_empty())
        .collect()
}

fn parsed(settings: &mut Settings, name: &str) -> Option<Vec<Listener>> {
    match parse_listeners(settings.text(name).unwrap_or("")) {
        Ok(listeners) => Some(listeners),
        Err(error) => {
            settings.refuse(name, error);
            None
        }
    }
}

/// Without `listeners`, the advertised ones are bound on every address at the same ports.
fn derive(settings: &mut Settings, advertised: &[Listener]) -> Option<Vec<Listener>> {
    let mut listen: Vec<Listener> = Vec::new();
    for told in advertised {
        if let Some(other) = listen.iter().find(|other| other.port == told.port) {
            let (one, two) = (other.name.clone(), told.name.clone());
            settings.refuse(
                "advertised.listeners",
                format!(
                    "{one} and {two} have the same port, so where to listen cannot be derived; set listeners"
                ),
            );
            return None;
        }
        listen.push(Listener {
            name: told.name.clone(),
            host: "0.0.0.0".to_string(),
            port: told.port,
        });
    }
    let said: Vec<String> = listen.iter().map(Listener::to_string).collect();
    settings.notes.push(format!(
        "listeners={} (derived from advertised.listeners)",
        said.join(",")
    ));
    Some(listen)
}

/// KRaft files list the controller's listener too. The metadata quorum has a port of its own here, so it is not opened.
fn drop_controllers(settings: &mut Settings, controllers: &[String], listen: &mut Vec<Listener>) {
    for name in controllers {
        if listen.iter().any(|listener| &listener.name == name) {
            settings.notes.push(format!(
                "listener {name} is not opened: controllers talk over a port of their own"
            ));
        }
    }
    listen.retain(|listener| !controllers.contains(&listener.name));
}

fn secure(settings: &mut Settings, listen: &[Listener]) -> Option<BTreeMap<String, SecurityProtocol>> {
    let map = match parse_protocol_map(settings.text("listener.security.protocol.map").unwrap_or("")) {
        Ok(map) => map,
        Err(error) => {
            settings.refuse("listener.security.protocol.map", error);
            return None;
        }
    };
    let mut security = BTreeMap::new();
    for listener in listen {
        let Some((_, protocol)) = map.iter().find(|(name, _)| *name == listener.name) else {
            let why = format!(
                "listener {} has no entry; {}:PLAINTEXT is one",
                listener.name, listener.name
            );
            settings.refuse("listener.security.protocol.map", why);
            continue;
        };
        if *protocol != SecurityProtocol::Plaintext {
            let why = format!(
                "listener {} is {}; only PLAINTEXT is served yet",
                listener.name,
                protocol.name()
            );
            settings.refuse("listener.security.protocol.map", why);
        }
        security.insert(listener.name.clone(), *protocol);
    }
    (security.len() == listen.len()).then_some(security)
}

/// One advertised address for each listener, in their order.
fn advertise(
    settings: &mut Settings,
    listen: &[Listener],
    given: Vec<Listener>,
    hostname: &str,
) -> Option<Vec<Listener>> {
    let before = settings.errors.len();
    for told in &given {
        if !listen.iter().any(|listener| listener.name == told.name) {
            settings.refuse(
                "advertised.listeners",
                format!("{} is not one of the listeners", told.name),
            );
        }
        if is_everywhere(&told.host) {
            let why = format!("{} is not an address that a client could connect to", told.host);
            settings.refuse("advertised.listeners", why);
        }
    }
    let advertised = listen
        .iter()
        .map(
            |listener| match given.iter().find(|told| told.name == listener.name) {
                Some(told) => told.clone(),
                None if is_everywhere(&listener.host) => Listener {
                    host: hostname.to_string(),
                    ..listener.clone()
                },
                None => listener.clone(),
            },
        )
        .collect();
    (settings.errors.len() == before).then_some(advertised)
}

fn is_everywhere(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

fn inter_broker(
    settings: &mut Settings,
    listen: &[Listener],
    security: &BTreeMap<String, SecurityProtocol>,
) -> Option<String> {
    if let Some(name) = settings
        .text("inter.broker.listener.name")
        .map(str::to_ascii_uppercase)
    {
        if listen.iter().any(|listener| listener.name == name) {
            return Some(name);
        }
        settings.refuse("inter.broker.listener.name", "not one of the listeners");
        return None;
    }
    // Kafka takes the listener that is called like the protocol; where there is none, the first will do here.
    let protocol = settings
        .text("security.inter.broker.protocol")
        .unwrap_or("PLAINTEXT");
    let named = listen.iter().find(|listener| listener.name == protocol);
    let alike = listen
        .iter()
        .find(|listener| security[&listener.name].name() == protocol);
    named
        .or(alike)
        .or(listen.first())
        .map(|listener| listener.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(overrides: &[&str]) -> (Option<ListenerOptions>, Settings) {
        let overrides: Vec<String> = overrides.iter().map(|text| text.to_string()).collect();
        let mut settings = Settings::gather(None, [], &overrides);
        let options = resolve(&mut settings, "myhost");
        (options, settings)
    }

    fn texts(listeners: &[Listener]) -> String {
        listeners
            .iter()
            .map(Listener::to_string)
            .collect::<Vec<_>>()
            .join(",")
    }

    #[test]
    fn nothing_given_is_one_listener_told_by_the_machines_name() {
        let (options, settings) = resolved(&[]);
        let options = options.unwrap();
        assert_eq!(texts(&options.listen), "PLAINTEXT://:9092");
        assert_eq!(texts(&options.advertised), "PLAINTEXT://myhost:9092");
        assert_eq!(options.inter_broker, "PLAINTEXT");
        assert_eq!(settings.errors, Vec::<String>::new());
    }

    #[test]
    fn listeners_are_derived_from_the_advertised_ones() {
        let told = "PLAINTEXT://localhost:9092,CONNECTIONS_FROM_HOST://127.0.0.2:19092,FOO://127.0.0.3:19093";
        let map = "PLAINTEXT:PLAINTEXT,CONNECTIONS_FROM_HOST:PLAINTEXT,FOO:PLAINTEXT";
        let (options, settings) = resolved(&[
            &format!("advertised.listeners={told}"),
            &format!("listener.security.protocol.map={map}"),
        ]);
        let options = options.unwrap();
        assert_eq!(
            texts(&options.listen),
            "PLAINTEXT://0.0.0.0:9092,CONNECTIONS_FROM_HOST://0.0.0.0:19092,FOO://0.0.0.0:19093"
        );
        assert_eq!(texts(&options.advertised), told);
        assert_eq!(options.advertised("FOO").unwrap().port, 19093);
        assert_eq!(settings.notes.len(), 1);
    }

    #[test]
    fn a_kraft_file_of_one_node_is_taken() {
        let (options, settings) = resolved(&[
            "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
            "controller.listener.names=CONTROLLER",
            "inter.broker.listener.name=PLAINTEXT",
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL",
        ]);
        assert_eq!(settings.errors, Vec::<String>::new());
        let options = options.unwrap();
        assert_eq!(texts(&options.listen), "PLAINTEXT://:9092");
        assert_eq!(texts(&options.advertised), "PLAINTEXT://localhost:9092");
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let said = |overrides: &[&str]| resolved(overrides).1.errors.join("\n");
        assert!(said(&["listeners=A://:1"]).contains("listener A has no entry"));
        assert!(said(&["listeners=SSL://:1"]).contains("only PLAINTEXT is served yet"));
        assert!(said(&["listeners=nonsense"]).contains("'nonsense' is not a listener"));
        assert!(
            said(&["listeners=PLAINTEXT://:1", "advertised.listeners=B://h:1"])
                .contains("B is not one of the listeners")
        );
        assert!(said(&["advertised.listeners=PLAINTEXT://0.0.0.0:1"]).contains("0.0.0.0 is not an address"));
        assert!(said(&["advertised.listeners=PLAINTEXT://a:1,SSL://b:1"]).contains("same port"));
        assert!(said(&["inter.broker.listener.name=X"]).contains("not one of the listeners"));
        assert!(
            said(&["listeners=C://:1", "controller.listener.names=C"]).contains("a listener for clients")
        );
    }
}
