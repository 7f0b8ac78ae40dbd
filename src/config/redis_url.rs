//! The forms of `REDIS_URL`, checked at start: a wrong one would otherwise only show as "unreachable".

/// Never repeats the address: it may hold a password.
pub(super) fn check(url: &str) -> Result<(), String> {
    let (scheme, rest) = url.split_once("://").ok_or_else(forms)?;
    let (rest, _query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    match scheme {
        "redis" | "rediss" => {
            host(hosts)?;
            database(path)
        }
        "redis+sentinel" | "rediss+sentinel" => {
            hosts.split(',').try_for_each(host)?;
            let (master, db) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                return Err(format!("the name of the master is missing: {}", forms()));
            }
            database(db)
        }
        "redis+cluster" | "rediss+cluster" => {
            hosts.split(',').try_for_each(host)?;
            if path.is_empty() { Ok(()) } else { Err(format!("a cluster has no databases: {}", forms())) }
        }
        _ => Err(forms()),
    }
}

fn forms() -> String {
    "expected redis://[user:password@]host[:6379][/db], redis+sentinel://host:26379,host2:26379/master[/db] or \
     redis+cluster://host:7000,host2:7001 (rediss… for TLS)"
        .into()
}

fn host(text: &str) -> Result<(), String> {
    let (name, port) = match text.strip_prefix('[').and_then(|t| t.split_once(']')) {
        Some((v6, port)) if v6.parse::<std::net::Ipv6Addr>().is_ok() => (v6, port.strip_prefix(':')),
        Some(_) => return Err(forms()),
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    let port_fits = port.is_none_or(|p| p.parse::<u16>().is_ok_and(|p| p > 0));
    if name.is_empty() || name.contains(char::is_whitespace) || !port_fits { Err(forms()) } else { Ok(()) }
}

fn database(path: &str) -> Result<(), String> {
    if path.is_empty() || path.parse::<u32>().is_ok() {
        return Ok(());
    }
    Err(format!("a database is a number: {}", forms()))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn every_documented_form_is_accepted() {
        for url in [
            "redis://localhost",
            "redis://127.0.0.1:6379/2",
            "redis://:p%40ss@redis:6379",
            "redis://u:p@[::1]:6379/0?protocol=resp3",
            "rediss://u:p@redis.example.com:6380",
            "redis+sentinel://u:p@h:26379,h2:26379/master",
            "rediss+sentinel://h:26379/master/3",
            "redis+cluster://u:p@h:7000,h2:7001",
            "rediss+cluster://h:7000/",
        ] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_wrong_form_is_named_without_its_password() {
        for url in [
            "localhost:6379",
            "http://u:hunter2@redis",
            "redis://u:hunter2@:6379",
            "redis://u:hunter2@redis:99999",
            "redis://u:hunter2@redis/one",
            "redis+sentinel://u:hunter2@h:26379",
            "redis+cluster://u:hunter2@h:7000/1",
            "redis+sentinel://h:1,,h2:2/master",
        ] {
            let error = check(url).unwrap_err();
            assert!(error.contains("redis+sentinel://") && !error.contains("hunter2"), "{url}: {error}");
        }
    }
}
