//! Reads `REDIS_URL`. Its errors never repeat the URL: a password may stand in it.

use super::RedisError;

/// How the node that holds our slot is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The one host named.
    Single,
    /// The hosts named are Sentinels; they know the primary's address.
    Sentinel,
    /// The hosts named are Cluster nodes; any of them redirects to the owner of a slot.
    Cluster,
}

/// Host without brackets, port.
pub(super) type Address = (String, u16);

/// A `REDIS_URL`, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RedisUrl {
    pub form: Form,
    pub tls: bool,
    /// Never empty; exactly one for [`Form::Single`].
    pub hosts: Vec<Address>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The master's name; empty unless [`Form::Sentinel`].
    pub master: String,
    pub db: i64,
}

impl RedisUrl {
    pub fn parse(url: &str) -> Result<Self, RedisError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no `://`"))?;
        let (form, tls) = match scheme {
            "redis" => (Form::Single, false),
            "rediss" => (Form::Single, true),
            "redis+sentinel" => (Form::Sentinel, false),
            "rediss+sentinel" => (Form::Sentinel, true),
            "redis+cluster" => (Form::Cluster, false),
            "rediss+cluster" => (Form::Cluster, true),
            _ => return Err(wrong("its scheme is not known")),
        };
        if rest.contains(['?', '#']) {
            return Err(wrong("parameters behind `?` or `#` are not known (in a password write %3F and %23)"));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let (user, password) = login.map_or(Ok((None, None)), credentials)?;
        let default_port = if form == Form::Sentinel { 26379 } else { 6379 };
        let hosts = hosts.split(',').map(|host| address(host.trim(), default_port)).collect::<Result<Vec<_>, _>>()?;
        if form == Form::Single && hosts.len() > 1 {
            return Err(wrong("several hosts need `redis+sentinel://` or `redis+cluster://`"));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let (master, db) = match form {
            Form::Single => (String::new(), database(path)?),
            Form::Sentinel => {
                let (master, db) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(wrong("behind the Sentinels' hosts the master's name is missing"));
                }
                (decode(master)?, database(db)?)
            }
            Form::Cluster if path.is_empty() || path == "0" => (String::new(), 0),
            Form::Cluster => return Err(wrong("a Cluster has no database other than 0")),
        };
        Ok(Self { form, tls, hosts, user, password, master, db })
    }
}

fn wrong(what: &str) -> RedisError {
    RedisError::Url(format!(
        "{what}; expected redis://[user:password@]host:6379[/db], rediss://… for TLS, redis+sentinel://host:26379,host2:26379/master[/db] or \
         redis+cluster://host:7000,host2:7001"
    ))
}

fn credentials(login: &str) -> Result<(Option<String>, Option<String>), RedisError> {
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let given = |text: &str| if text.is_empty() { Ok(None) } else { decode(text).map(Some) };
    Ok((given(user)?, given(password)?))
}

fn address(text: &str, default_port: u16) -> Result<Address, RedisError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(|| wrong("a `[` has no `]`"))?;
        (host, port.strip_prefix(':').unwrap_or(port))
    } else {
        text.rsplit_once(':').unwrap_or((text, ""))
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(wrong("a host is missing"));
    }
    let port =
        if port.is_empty() { default_port } else { port.parse().map_err(|_| wrong("a port is not a number"))? };
    Ok((host.to_owned(), port))
}

fn database(text: &str) -> Result<i64, RedisError> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().ok().filter(|db| *db >= 0).ok_or_else(|| wrong("the database is not a number"))
}

/// Undoes `%40` and the like.
fn decode(text: &str) -> Result<String, RedisError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .ok_or_else(|| wrong("a `%` is not followed by two hex digits"))?;
        bytes.push(byte);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(of: &[(&str, u16)]) -> Vec<Address> {
        of.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect()
    }

    #[test]
    fn every_documented_form_is_read() {
        let single = RedisUrl::parse("rediss://me:p%40ss@example.org/3").unwrap();
        assert_eq!((single.form, single.tls, single.db), (Form::Single, true, 3));
        assert_eq!((single.user.as_deref(), single.password.as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(single.hosts, hosts(&[("example.org", 6379)]));

        let sentinel = RedisUrl::parse("redis+sentinel://:secret@a,b:1234/mymaster/2").unwrap();
        assert_eq!((sentinel.form, sentinel.tls, sentinel.db), (Form::Sentinel, false, 2));
        assert_eq!((sentinel.user, sentinel.password.as_deref()), (None, Some("secret")));
        assert_eq!((sentinel.hosts, sentinel.master.as_str()), (hosts(&[("a", 26379), ("b", 1234)]), "mymaster"));

        let cluster = RedisUrl::parse("redis+cluster://h:7000,[::1]:7001").unwrap();
        assert_eq!((cluster.form, cluster.hosts), (Form::Cluster, hosts(&[("h", 7000), ("::1", 7001)])));
    }

    #[test]
    fn a_mistake_is_named_and_the_password_is_not() {
        for (url, says) in [
            ("http://:hunter2@h", "scheme"),
            ("redis://:hunter2@h:port", "port"),
            ("redis://:hunter2@a,b", "several hosts"),
            ("redis+sentinel://:hunter2@a", "master's name"),
            ("redis+cluster://:hunter2@a/1", "database"),
            ("redis://:hunter2@", "host is missing"),
            ("redis://:hunter2%4@h", "two hex digits"),
            ("redis://:hunter2@h/x", "database"),
            ("redis://:hunter2@h?protocol=resp3", "parameters"),
        ] {
            let error = RedisUrl::parse(url).err().unwrap().to_string();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
