//! `REDIS_URL`, parsed once for all rooms. Errors never repeat the URL, which may hold a password.

use std::{fmt, net::Ipv6Addr, path::PathBuf, str::FromStr};

use percent_encoding::percent_decode_str;

/// A parsed `REDIS_URL`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub topology: Topology,
    pub tls: bool,
    /// Exactly one for [`Topology::Single`], none for [`Topology::Socket`], else at least one.
    pub addresses: Vec<Address>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub db: i64,
}

/// How the node that holds the keys of a pool is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topology {
    /// The one address of the URL.
    Single,
    /// A server on this machine, through its unix socket.
    Socket { path: PathBuf },
    /// The addresses are those of Sentinels, which know the primary by the name `master`.
    Sentinel { master: String },
    /// The addresses are those of Cluster nodes, each of which redirects to the owner of a slot.
    Cluster,
}

/// Host (an IPv6 address without its brackets) and port.
pub type Address = (String, u16);

/// Why a URL was rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; expected redis://[user:password@]host[:6379][/db], redis+sentinel://host:26379,host2:26379/master[/db], \
     redis+cluster://host:7000,host2:7001 (rediss… for TLS) or unix:///path/of/redis.sock[?db=0]"
)]
pub struct RedisUrlError(&'static str);

impl RedisUrl {
    /// Host and port of a single server. Behind Sentinel or in a Cluster the server can change.
    pub fn single_address(&self) -> Option<Address> {
        self.addresses.first().filter(|_| self.topology == Topology::Single).cloned()
    }
}

/// Leaves out the credentials.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrl").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(url: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisUrlError("it has no `://`"))?;
        if matches!(scheme, "unix" | "redis+unix") {
            return socket(rest);
        }
        let (kind, tls) = match (scheme.strip_prefix("rediss"), scheme.strip_prefix("redis")) {
            (Some(kind), _) => (kind, true),
            (None, Some(kind)) => (kind, false),
            (None, None) => return Err(RedisUrlError("its scheme is unknown")),
        };
        if rest.contains(['?', '#']) {
            return Err(RedisUrlError(
                "parameters after `?` or `#` are not supported (in a user or password write %3F and %23)",
            ));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(RedisUrlError("write a `/` in a user or password as %2F"));
        }
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let path = path.strip_suffix('/').unwrap_or(path);
        let (topology, db, default_port) = match kind {
            "" if hosts.contains(',') => {
                return Err(RedisUrlError("several hosts need `redis+sentinel://` or `redis+cluster://`"));
            }
            "" => (Topology::Single, database(path)?, 6379),
            "+sentinel" => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                let master = decode(master)?.ok_or(RedisUrlError("the master's name after the hosts is missing"))?;
                (Topology::Sentinel { master }, database(db)?, 26379)
            }
            "+cluster" if database(path)? == 0 => (Topology::Cluster, 0, 6379),
            "+cluster" => return Err(RedisUrlError("a Cluster has only database 0")),
            _ => return Err(RedisUrlError("its scheme is unknown")),
        };
        Ok(Self {
            topology,
            tls,
            addresses: hosts.split(',').map(|host| address(host.trim(), default_port)).collect::<Result<_, _>>()?,
            user: decode(user)?,
            password: decode(password)?,
            db,
        })
    }
}

/// What follows the scheme of a unix socket: `[user:password@]/path[?db=N]`.
fn socket(rest: &str) -> Result<RedisUrl, RedisUrlError> {
    let (login, path) = rest.split_at(rest.find('/').ok_or(RedisUrlError("the path of the socket is missing"))?);
    if path.contains('@') {
        return Err(RedisUrlError("write a `/` in a user or password as %2F, and an `@` in the path as %40"));
    }
    let (user, password) = match login.strip_suffix('@') {
        Some(login) => login.split_once(':').unwrap_or((login, "")),
        None if login.is_empty() => ("", ""),
        None => return Err(RedisUrlError("the path of a socket begins with `/`: write three slashes")),
    };
    let (path, db) = match path.split_once('?') {
        Some((path, parameters)) => match parameters.strip_prefix("db=") {
            Some(db) => (path, database(db)?),
            None => return Err(RedisUrlError("the only parameter of a socket is `?db=`")),
        },
        None => (path, 0),
    };
    let path = decode(path)?.filter(|path| path.len() > 1).ok_or(RedisUrlError("the path of the socket is missing"))?;
    Ok(RedisUrl {
        topology: Topology::Socket { path: path.into() },
        tls: false,
        addresses: Vec::new(),
        user: decode(user)?,
        password: decode(password)?,
        db,
    })
}

fn address(text: &str, default_port: u16) -> Result<Address, RedisUrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(RedisUrlError("a `[` has no `]`"))?;
            if host.parse::<Ipv6Addr>().is_err() || !(port.is_empty() || port.starts_with(':')) {
                return Err(RedisUrlError("the text in `[…]` must be an IPv6 address"));
            }
            (host, port.strip_prefix(':'))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(RedisUrlError("a host is missing"));
    }
    let port = port.map_or(Ok(default_port), str::parse).ok().filter(|port| *port > 0);
    Ok((host.to_owned(), port.ok_or(RedisUrlError("a port is not a number from 1 to 65535"))?))
}

fn database(text: &str) -> Result<i64, RedisUrlError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse::<u32>().map(i64::from).map_err(|_| RedisUrlError("the database is not a number"))
}

/// Decodes percent escapes; an empty text means that nothing was given.
fn decode(text: &str) -> Result<Option<String>, RedisUrlError> {
    let is_escape = |rest: &str| rest.get(..2).is_some_and(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()));
    if !text.split('%').skip(1).all(is_escape) {
        return Err(RedisUrlError("a `%` is not followed by two hexadecimal digits"));
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| RedisUrlError("it is not UTF-8"))?;
    Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_documented_form_is_accepted() {
        let single: RedisUrl = "rediss://me:p%40s%2Fs@example.org/3".parse().unwrap();
        assert_eq!((&single.topology, single.tls, single.db), (&Topology::Single, true, 3));
        assert_eq!((single.user.as_deref(), single.password.as_deref()), (Some("me"), Some("p@s/s")));
        assert_eq!(single.single_address(), Some(("example.org".to_owned(), 6379)));

        let sentinel: RedisUrl = "redis+sentinel://:secret@a,b:1234/mymaster/2".parse().unwrap();
        assert_eq!(sentinel.topology, Topology::Sentinel { master: "mymaster".to_owned() });
        assert_eq!((sentinel.user, sentinel.password.as_deref(), sentinel.db), (None, Some("secret"), 2));
        assert_eq!(sentinel.addresses, [("a".to_owned(), 26379), ("b".to_owned(), 1234)]);

        let cluster: RedisUrl = "redis+cluster://h:7000,[::1]:7001/0".parse().unwrap();
        assert_eq!((&cluster.topology, cluster.single_address()), (&Topology::Cluster, None));
        assert_eq!(cluster.addresses, [("h".to_owned(), 7000), ("::1".to_owned(), 7001)]);

        let socket: RedisUrl = "unix://me:p%2F@/run/redis/redis.sock?db=4".parse().unwrap();
        assert_eq!(socket.topology, Topology::Socket { path: "/run/redis/redis.sock".into() });
        assert_eq!((socket.user.as_deref(), socket.password.as_deref(), socket.db), (Some("me"), Some("p/"), 4));

        for url in [
            "redis+unix:///s",
            "redis://localhost",
            "redis://[::1]",
            "rediss+sentinel://h/master/3",
            "rediss+cluster://h:7000/",
        ] {
            assert!(url.parse::<RedisUrl>().is_ok(), "{url}");
        }
    }

    #[test]
    fn an_error_names_the_mistake_and_not_the_password() {
        for (url, problem) in [
            ("localhost:6379", "no `://`"),
            ("http://:hunter2@h", "scheme"),
            ("redis+ring://:hunter2@h", "scheme"),
            ("redis://:hunter2@h:port", "port"),
            ("redis://:hunter2@h:0", "port"),
            ("redis://:hunter2@h:99999", "port"),
            ("redis://:hunter2@a,b", "several hosts"),
            ("redis+sentinel://:hunter2@a", "master's name"),
            ("redis+sentinel://:hunter2@a,,b/master", "host is missing"),
            ("redis+cluster://:hunter2@a/1", "database 0"),
            ("redis://:hunter2@", "host is missing"),
            ("redis://:hunter2@[fe80", "`]`"),
            ("redis://:hunter2@[host]", "IPv6"),
            ("redis://:hunter2%4@h", "two hexadecimal digits"),
            ("redis://:hunter2@h/x", "database"),
            ("redis://:hunter2/x@h/0", "%2F"),
            ("redis://:hunter2@h?protocol=resp3", "parameters"),
            ("unix://:hunter2@", "path of the socket"),
            ("unix://:hunter2@/", "path of the socket"),
            ("unix://run/redis.sock", "three slashes"),
            ("unix://:hunter2/x@/s", "%2F"),
            ("unix://:hunter2@/s?timeout=3", "`?db=`"),
            ("unix://:hunter2@/s?db=x", "database"),
        ] {
            let error = url.parse::<RedisUrl>().unwrap_err().to_string();
            assert!(error.contains(problem), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(url in "((rediss?(\\+sentinel|\\+cluster|\\+unix)?|unix)://)?[a-z0-9:@/,%\\[\\]?#é ]{0,40}") {
            let _ = url.parse::<RedisUrl>();
        }

        #[test]
        fn credentials_and_addresses_are_read_back(
            user in "[ -~]{0,8}", password in "[ -~é]{0,8}", host in "[a-z.]{1,9}", port in 1..u16::MAX, db in 0..99_i64,
        ) {
            let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
            let url = format!("redis://{}:{}@{host}:{port}/{db}", encode(&user), encode(&password));
            let read: RedisUrl = url.parse().unwrap();
            prop_assert_eq!((read.user.unwrap_or_default(), read.password.unwrap_or_default()), (user, password));
            prop_assert_eq!((read.addresses, read.db), (vec![(host, port)], db));
        }
    }
}
