//! Settings as operators write them: every layer, every mistake and its place.

use std::{fs, sync::Arc};

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::domain::RoutingStrategy;

/// A working directory with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn vars(vars: &[(&str, &str)]) -> BTreeMap<String, String> {
    vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_with(file: &str, env: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = folder(&[("tollfree.toml", file)]);
    load(&vars(env), folder.path()).map_err(|error| error.to_string())
}

fn refused(file: &str, env: &[(&str, &str)]) -> String {
    load_with(file, env).map(|loaded| loaded.settings).expect_err("should not load")
}

fn source(loaded: &Loaded, setting: &str) -> (String, String) {
    let found = loaded.settings.sources.iter().find(|found| found.name == setting).expect(setting);
    (found.source.clone(), found.value.clone())
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let loaded = load_with("", &[]).unwrap();
    let values = Settings { sources: Arc::default(), ..loaded.settings.clone() };
    assert_eq!(format!("{values:?}"), format!("{:?}", Settings::default()));
    assert!(loaded.notes.is_empty());
    assert_eq!(source(&loaded, "queue.max_wait_ms"), ("default".into(), "30000".into()));
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let file = "[queue]\nmax_wait_ms = 5\n[timeouts]\nconnect_ms = 7\nstream_idle_ms = 8\n[server]\nport = 1\n";
    let env = [("TOLLFREE__QUEUE__MAX_WAIT_MS", "6"), ("PORT", "2"), ("TOLLFREE__TIMEOUTS__STREAM_IDLE_MS", "  ")];
    let loaded = load_with(file, &env).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.queue.max_wait_ms, 6);
    assert_eq!((settings.timeouts.connect_ms, settings.timeouts.first_token_ms), (7, 20_000));
    assert_eq!(settings.timeouts.stream_idle_ms, 8, "an empty variable counts as unset");
    assert_eq!(settings.server.port, 2);
    assert_eq!(source(&loaded, "server.port"), ("env PORT".into(), "2".into()));
    assert_eq!(source(&loaded, "timeouts.connect_ms"), ("tollfree.toml:4".into(), "7".into()));
}

#[test]
fn the_earlier_spelling_of_a_setting_is_accepted() {
    let file = "[timeouts]\nfirst_content_ms = 7\n[models.mine]\nmembers = [\"groq/*\"]\norder = \"listed\"\n";
    let loaded = load_with(file, &[("TOLLFREE__TIMEOUTS__SILENCE_MS", "9")]).unwrap();
    let timeouts = &loaded.settings.timeouts;
    assert_eq!((timeouts.first_token_ms, timeouts.stream_idle_ms), (7, 9));
    assert_eq!(source(&loaded, "timeouts.first_token_ms"), ("tollfree.toml:2".into(), "7".into()));
    assert_eq!(source(&loaded, "timeouts.stream_idle_ms"), ("env TOLLFREE__TIMEOUTS__SILENCE_MS".into(), "9".into()));
    assert_eq!(loaded.settings.models["mine"].strategy, RoutingStrategy::Listed);
    let error = refused("[timeouts]\nsilence_ms = 0\n", &[]);
    assert_eq!(error, "tollfree.toml:2:14: timeouts.silence_ms: expected a whole number from 1 to 3600000, got `0`");
}

#[test]
fn a_dotenv_stands_between_the_file_and_the_environment() {
    let dotenv = "# keys\nexport PORT=4000\nHOST=0.0.0.0\nGROQ_API_KEY='gsk-1,gsk-2'\n";
    let folder = folder(&[(".env", dotenv), ("tollfree.toml", "[server]\nport = 1\n")]);
    let loaded = load(&vars(&[("HOST", "127.0.0.2")]), folder.path()).unwrap();
    assert_eq!((loaded.settings.server.port, loaded.settings.server.host.as_str()), (4_000, "127.0.0.2"));
    assert_eq!(loaded.settings.providers["groq"].keys.len(), 2);
    assert_eq!(source(&loaded, "server.port").0, ".env PORT");

    fs::write(folder.path().join(".env"), "A=1\nGROQ_API_KEY='gsk-hunter2\n").unwrap();
    let error = load(&BTreeMap::new(), folder.path()).unwrap_err().to_string();
    assert!(error.starts_with(".env:2:") && !error.contains("gsk"), "{error}");
    fs::write(folder.path().join(".env"), [0xff, 0xfe, b'A', 0, b'=', 0]).unwrap();
    let error = load(&BTreeMap::new(), folder.path()).unwrap_err().to_string();
    assert_eq!(error, ".env: cannot be read: save it as UTF-8");
}

#[test]
fn every_name_of_the_environment_reaches_its_setting() {
    let env = [
        ("HOST", "::1"),
        ("REDIS_URL", "redis://:hunter2@r:6379/1"),
        ("TOLLFREE_DATA_DIR", "/var/lib/tollfree"),
        ("TOLLFREE_POOL", "team"),
        ("FREELLM_ADMIN_KEY", "adm-hunter2"),
        ("FREELLM_API_KEY", "cli-hunter2"),
        ("TOLLFREE_AUTH", "required"),
        ("RATE_LIMIT_RPM", "60"),
        ("CB_FAILURE_THRESHOLD", "5"),
        ("CB_SUCCESS_THRESHOLD", "1"),
        ("CB_TIMEOUT_MS", "1000"),
        ("ROUTE_TIMEOUT_MS", "2000"),
        ("ALLOWED_ORIGINS", "https://a.example, http://localhost:5173"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,::1"),
        ("LOG_LEVEL", "Debug,tollfree::ledger=silent"),
        ("LOG_FORMAT", "text"),
        ("HTTPS_PROXY", "http://u:hunter2@proxy:3128"),
        ("OLLAMA_BASE_URL", "http://localhost:11434"),
        ("OLLAMA_MODELS", "llama3, qwen2.5:7b"),
        ("GOOGLE_API_KEY", "goog-hunter2"),
        ("GROQ_BASE_URL", "http://127.0.0.1:9/x/"),
    ];
    let loaded = load_with("", &env).unwrap();
    let s = &loaded.settings;
    assert_eq!((&*s.server.host, &*s.ledger.pool, s.auth.mode), ("::1", "team", Some(AuthMode::Required)));
    assert_eq!(s.redis_url, "redis://:hunter2@r:6379/1".parse().ok());
    assert_eq!(s.ledger.data_dir.as_deref(), Some(Path::new("/var/lib/tollfree")));
    assert_eq!(s.admin_key.as_ref().unwrap().expose_secret(), "adm-hunter2");
    assert_eq!(s.api_key.as_ref().unwrap().expose_secret(), "cli-hunter2");
    assert_eq!((s.clients.rate_limit_rpm, s.timeouts.route_ms), (Some(60), 2_000));
    assert_eq!(s.breaker, BreakerSettings { failure_threshold: 5, success_threshold: 1, open_ms: 1_000 });
    let origins: Vec<String> = s.http.allowed_origins.iter().map(ToString::to_string).collect();
    assert_eq!(origins, ["https://a.example", "http://localhost:5173"]);
    assert!(s.http.trusted_proxies[0].contains("10.9.8.7".parse().unwrap()));
    assert!(s.http.trusted_proxies[0].contains("::ffff:10.9.8.7".parse().unwrap()));
    assert!(!s.http.trusted_proxies[0].contains("11.0.0.1".parse().unwrap()));
    assert_eq!((s.log.level.as_str(), s.log.format), ("debug,tollfree::ledger=off", LogFormat::Text));
    assert_eq!(s.https_proxy.as_deref(), Some("http://u:hunter2@proxy:3128"));
    assert_eq!(s.ollama.base_url.as_deref(), Some("http://localhost:11434/v1"), "/v1 is added for Ollama");
    assert_eq!(s.ollama.models, ["llama3", "qwen2.5:7b"]);
    assert_eq!(s.providers["gemini"].keys[0].expose_secret(), "goog-hunter2");
    assert_eq!(s.providers["groq"].base_url.as_deref(), Some("http://127.0.0.1:9/x"), "used as given");

    let shown = format!("{loaded:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(source(&loaded, "REDIS_URL"), ("env REDIS_URL".into(), "set".into()));
}

#[test]
fn mistakes_in_the_file_have_a_line_a_column_a_name_and_an_expectation() {
    let cases = [
        (
            "[server]\nport = 70000",
            "tollfree.toml:2:8: server.port: expected a whole number from 0 to 65535, got `70000`",
        ),
        (
            "[server]\nport = \"x\"",
            "tollfree.toml:2:8: server.port: expected a whole number from 0 to 65535, got `\"x\"`",
        ),
        ("[server]\nprot = 1", "tollfree.toml:2:1: server: unknown key `prot`: did you mean `port`?"),
        ("\n[qeue]\n", "tollfree.toml:2:2: unknown key `qeue`: did you mean `queue`?"),
        ("queue = 3", "tollfree.toml:1:1: queue: expected a table, [queue]"),
        ("[log]\nlevel = \"loud\"", "tollfree.toml:2:9: log.level: expected error, warn, info"),
        ("[log]\nlevel = true", "tollfree.toml:2:9: log.level: expected error, warn, info"),
        (
            "[http]\ntrusted_proxies = [\"10.0.0.0/33\"]",
            "tollfree.toml:2:19: http.trusted_proxies: expected addresses or ranges such as 10.0.0.0/8, got `[\"10.0.0.0/33\"]`",
        ),
        (
            "[http]\nallowed_origins = 5",
            "tollfree.toml:2:19: http.allowed_origins: expected an array of strings, got `5`",
        ),
        ("[http]\nallowed_origins = [\"https://a/path\"]", "http.allowed_origins: expected `*`, or origins"),
        ("[auth]\nmode = \"maybe\"", "auth.mode: expected `open` or `required`, got `\"maybe\"`"),
        (
            "[auth]\nadmin_key = \"hunter2\"",
            "auth: unknown key `admin_key`: secrets are read from the environment only",
        ),
        ("[ledger]\npool = \"a b\"", "ledger.pool: expected 1 to 64 of"),
        ("[queue\n", "tollfree.toml:1:7: "),
        (
            "[providers.groq]\nlimts = { rpm = 1 }",
            "tollfree.toml:2:1: providers.groq.limts: unknown key `limts`: did you mean `limits`?",
        ),
        (
            "[providers.groq]\nlimits = { rpx = 1 }",
            "tollfree.toml:2:12: providers.groq.limits.rpx: expected one of `rps`, `rpm`, ",
        ),
        (
            "[providers.groq]\nlimits = { rpm = -1 }",
            "tollfree.toml:2:18: providers.groq.limits.rpm: invalid value: integer `-1`, expected a whole number from 0",
        ),
        (
            "[providers.groq]\nlimits = { rpm = \"no\" }",
            "providers.groq.limits.rpm: invalid value: string \"no\", expected a whole number from 0 (not on this plan), or \"none\"",
        ),
        (
            "[providers.groq]\nwindow = \"slidng\"",
            "tollfree.toml:2:10: providers.groq.window: expected one of `clock`, `sliding`, `unknown`, `bucket`, got `\"slidng\"`",
        ),
        ("[providers.groq]\nwindow = { rpm = \"calendar\" }", "`bucket`, got `\"calendar\"`"),
        (
            "[providers.groq]\ndaily_reset = \"Mars/Phobos\"",
            "tollfree.toml:2:15: providers.groq.daily_reset: `Mars/Phobos` is neither an IANA",
        ),
        (
            "[providers.groq]\ntoken_charge = \"all\"",
            "providers.groq.token_charge: expected one of `reserve`, `actual`, ",
        ),
        (
            "[providers.groq]\napi_key = \"gsk-hunter2\"",
            "providers.groq.api_key: unknown key `api_key`: secrets are read from the environment",
        ),
        (
            "[providers.groq.models.\"a/b\"]\ncontext = \"big\"",
            "tollfree.toml:2:11: providers.groq.models.\"a/b\".context: expected a whole number from 0",
        ),
        ("[providers.groq.models.x]\ncapabilities = [\"tool\"]", "expected one of `tools`, `json_schema`"),
        (
            "[providers.grok]\nenabled = true",
            "tollfree.toml:1:12: providers.grok: not in the catalogue: a provider of your own needs `base_url`. Did you mean `groq`?",
        ),
        (
            "[providers.lab]\nbase_url = \"gpu:8000\"",
            "tollfree.toml:2:1: providers.lab.base_url: expected an address such as https://host/v1",
        ),
        ("[providers.\"La b\"]\nbase_url = \"http://x\"", "the name of a provider consists of a-z"),
        ("[providers.groq]\nheaders = \"grok\"", "providers.groq.headers: expected one of"),
        ("[providers.tollfree]\nbase_url = \"http://x\"", "TOLLFREE_API_KEY is this gateway's own key: choose"),
        (
            "[providers.a-b]\nbase_url = \"http://x\"\n[providers.a_b]\nbase_url = \"http://y\"",
            "`a-b` and `a_b` would both read A_B_API_KEY",
        ),
        ("[providers.groq.models.\"a\\tb\"]", "expected the id of a model, got `a\tb`"),
        ("[providers.groq.models.x]\naliases = [\"\"]", "providers.groq.models.x: expected the id of a model, got ``"),
        (
            "[models.mine]\nstrategy = \"quick\"\nmembers = [\"groq/*\"]",
            "tollfree.toml:2:12: models.mine.strategy: expected one of `fast`, `smart`",
        ),
        ("[models.mine]\nstrategy = \"fast\"", "tollfree.toml:1:9: models.mine: `members` is missing"),
        ("[models.\"a/b\"]\nmembers = [\"x\"]", "a meta-model's name has no `/`"),
    ];
    for (file, expected) in cases {
        let error = refused(file, &[]);
        assert!(error.contains(expected), "{file}\n  expected {expected}\n  got      {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn mistakes_in_the_environment_name_the_variable_and_never_a_secret() {
    let cases = [
        ("PORT", "abc", "env PORT: expected a whole number from 0 to 65535, got `abc`"),
        ("CB_TIMEOUT_MS", "0", "env CB_TIMEOUT_MS: expected a whole number from 1"),
        ("TOLLFREE__QUEUE__MAX_WAIT_MS", "-1", "env TOLLFREE__QUEUE__MAX_WAIT_MS: expected a whole number from 0"),
        ("TOLLFREE_POOLS", "x", "env TOLLFREE_POOLS: no such setting: did you mean `TOLLFREE_POOL`?"),
        ("TOLLFREE__QUEUE__MAX_WAIT", "1", "did you mean `TOLLFREE__QUEUE__MAX_WAIT_MS`?"),
        ("TOLLFREE_AUTH", "yes", "env TOLLFREE_AUTH: expected `open` or `required`, got `yes`"),
        ("REDIS_URL", "http://u:hunter2@r", "env REDIS_URL: its scheme is unknown; expected redis://"),
        ("HTTPS_PROXY", "u:hunter2@proxy", "env HTTPS_PROXY: expected a proxy such as"),
        ("GROQ_API_KEY", "good,hunter2 bad", "env GROQ_API_KEY, key 2: expected a key of visible ASCII characters"),
        ("TOLLFREE_ADMIN_KEY", "hunter2 x", "env TOLLFREE_ADMIN_KEY: expected a key of visible"),
        (
            "GROQ_BASE_URL",
            "ftp://u:hunter2@x",
            "env GROQ_BASE_URL: expected an address such as https://host/v1, got `x`",
        ),
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/8,nonsense",
            "env TRUSTED_PROXIES: expected addresses or ranges such as 10.0.0.0/8, got `10.0.0.0/8,nonsense`",
        ),
        ("TOLLFREE_CONFIG", "missing.toml", "TOLLFREE_CONFIG: `missing.toml` cannot be read"),
        ("TOLLFREE_ADMIN_KEY_FILE", "missing", "TOLLFREE_ADMIN_KEY_FILE: `missing` cannot be read"),
    ];
    for (name, value, expected) in cases {
        let error = refused("", &[(name, value)]);
        assert!(error.contains(expected), "{name}={value}\n  expected {expected}\n  got      {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let error = refused("[server]\nport = -1\n[qeue]\n", &[("LOG_LEVEL", "loud"), ("TOLLFREE_POOLS", "x")]);
    assert_eq!(error.lines().count(), 4, "{error}");
}

#[test]
fn secrets_may_come_from_files() {
    let files = [("admin", "\u{FEFF}from-file\n"), ("keys", "k-1\nk-2\n"), ("empty", "\n"), ("tollfree.toml", "")];
    let folder = folder(&files);
    let env = vars(&[("TOLLFREE_ADMIN_KEY_FILE", "admin"), ("GROQ_API_KEY_FILE", "keys")]);
    let loaded = load(&env, folder.path()).unwrap();
    assert_eq!(loaded.settings.admin_key.as_ref().unwrap().expose_secret(), "from-file");
    assert_eq!(loaded.settings.providers["groq"].keys.len(), 2);
    for (env, expected) in [
        (&[("TOLLFREE_API_KEY", "a"), ("TOLLFREE_API_KEY_FILE", "admin")][..], "are both set"),
        (&[("TOLLFREE_API_KEY_FILE", "empty")][..], "is empty"),
    ] {
        let error = load(&vars(env), folder.path()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_dotenv_of_freellm_works_and_names_without_effect_are_reported_once() {
    let env = [
        ("NVIDIA_NIM_API_KEY", "nv"),
        ("RATE_LIMIT_RPM", "60"),
        ("RATE_LIMIT_WINDOW_MS", "60000"),
        ("FREELLM_IDENTIFIER_LIMIT", "60/60000"),
        ("FREELLM_VIRTUAL_KEYS_PATH", ""),
        ("CACHE_ENABLED", "true"),
        ("LOG_LEVEL", "fatal"),
        ("NODE_ENV", "development"),
    ];
    let loaded = load_with("", &env).unwrap();
    assert_eq!(loaded.settings.providers["nvidia"].keys.len(), 1);
    assert_eq!(loaded.settings.log.level, "error");
    let names = "CACHE_ENABLED, FREELLM_IDENTIFIER_LIMIT, RATE_LIMIT_WINDOW_MS";
    assert_eq!(loaded.notes, [format!("Names of FreeLLM that have no effect here: {names}")]);
}

#[test]
fn service_links_of_kubernetes_are_not_settings() {
    let env = [
        ("TOLLFREE_SERVICE_HOST", "10.0.0.1"),
        ("TOLLFREE_SERVICE_PORT_HTTP", "3000"),
        ("TOLLFREE_PORT", "tcp://10.0.0.1:3000"),
        ("TOLLFREE_PORT_3000_TCP_ADDR", "10.0.0.1"),
        ("TOLLFREE_REDIS_PORT_6379_TCP", "tcp://10.0.0.2:6379"),
    ];
    assert!(load_with("", &env).is_ok());
    assert!(refused("", &[("TOLLFREE_PORT", "3000")]).contains("TOLLFREE_PORT: no such setting"));
}

#[test]
fn accounts_name_keys_that_exist_and_each_once() {
    let key = [("GROQ_API_KEY", "a,b")];
    let table = |accounts: &str| format!("[providers.groq]\naccounts = {{ {accounts} }}\n");
    assert!(load_with(&table("main = [1, 2]"), &key).is_ok());
    for (accounts, expected) in [
        ("main = [0]", "tollfree.toml:2:14: providers.groq.accounts.main: positions count from 1"),
        ("main = [1, 3]", "there is no key 3: 2 are set"),
        ("main = [1], b = [1]", "key 1 already belongs to `b`"),
    ] {
        let error = refused(&table(accounts), &key);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn rules_over_several_settings() {
    let same = refused("", &[("TOLLFREE_ADMIN_KEY", "hunter2"), ("TOLLFREE_API_KEY", "hunter2")]);
    assert!(same.contains("are the same") && !same.contains("hunter2"));
    let open = load_with("", &[("HOST", "0.0.0.0"), ("TOLLFREE_AUTH", "open")]).unwrap();
    assert!(open.notes[0].contains("`open` on 0.0.0.0"));
    let tokens = load_with("", &[("HF_TOKEN", "hf"), ("GITHUB_TOKEN", "gh")]).unwrap();
    assert_eq!(tokens.notes, <[&str; 0]>::default());
    let providers = &tokens.settings.providers;
    assert!(providers.contains_key("huggingface") && !providers.contains_key("github"));
    let twice = load_with("", &[("GEMINI_API_KEY", "a,a"), ("GOOGLE_API_KEY", "b")]).unwrap();
    assert_eq!(
        twice.notes,
        [
            "GOOGLE_API_KEY is not used: GEMINI_API_KEY is set",
            "env GEMINI_API_KEY, key 2: repeats an earlier key and is ignored"
        ]
    );
}

#[test]
fn meta_models_of_the_file_keep_what_they_do_not_say() {
    let file = "[models.free]\nstrategy = \"fast\"\n[models.mine]\nmembers = [\"groq/*\"]\n";
    let models = load_with(file, &[]).unwrap().settings.models;
    let meta = |members: &[&str], strategy, place: &str| MetaModelSettings {
        members: members.iter().map(ToString::to_string).collect(),
        strategy,
        place: place.to_owned(),
    };
    assert_eq!(models["free"], meta(&[], RoutingStrategy::Fast, "tollfree.toml:1:9"));
    assert_eq!(models["mine"], meta(&["groq/*"], RoutingStrategy::Headroom, "tollfree.toml:4:1"));
}

#[test]
fn origins_of_pages_apps_and_extensions_match_what_browsers_send() {
    let matches = |allowed: &str, sent: &str| allowed.parse::<Origin>().unwrap().matches(sent);
    for (allowed, sent) in [
        ("*", "null"),
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.example.com:8443", "https://app.example.com:8443"),
        ("https://*.example.com", "https://a.b.example.com"),
        ("app://obsidian.md", "app://obsidian.md"),
        ("tauri://localhost", "tauri://localhost"),
        ("capacitor://", "capacitor://"),
        ("chrome-extension://abcdefghij", "chrome-extension://abcdefghij"),
        ("http://[::1]:5173", "http://[::1]:5173"),
    ] {
        assert!(matches(allowed, sent), "{allowed} {sent}");
    }
    for (allowed, sent) in [
        ("https://app.example.com", "http://app.example.com"),
        ("https://*.example.com", "https://example.com"),
        ("https://*.example.com", "https://evil.test/.example.com"),
        ("https://*.example.com", "https://badexample.com"),
        ("https://*.example.com", "https://a.example.com:8443"),
    ] {
        assert!(!matches(allowed, sent), "{allowed} {sent}");
    }
    for wrong in
        ["example.com", "https://", "https://a/", "https://*", "https://a.*.com", "://a", "https://u@a", "null"]
    {
        assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
    }
}

#[test]
fn proxies_and_endpoints_are_read_as_people_write_them() {
    let env = [("ALL_PROXY", "socks5://proxy:1080"), ("no_proxy", ".svc,10.0.0.0/8")];
    let file = "[providers.lab]\nbase_url = \"http://x/v1/chat/completions/\"\n";
    let loaded = load_with(file, &env).unwrap();
    assert_eq!(loaded.settings.https_proxy.as_deref(), Some("socks5://proxy:1080"));
    assert_eq!(loaded.settings.no_proxy.as_deref(), Some(".svc,10.0.0.0/8"));
    assert_eq!(loaded.settings.providers["lab"].base_url.as_deref(), Some("http://x/v1"));
    assert!(loaded.notes[0].contains("/chat/completions"), "{:?}", loaded.notes);
    for endpoint in ["completions", "responses", "models", "embeddings/"] {
        let file = format!("[providers.lab]\nbase_url = \"http://x/v1/{endpoint}\"\n");
        let loaded = load_with(&file, &[]).unwrap();
        assert_eq!(loaded.settings.providers["lab"].base_url.as_deref(), Some("http://x/v1"), "{endpoint}");
        assert_eq!(loaded.notes.len(), 1, "{:?}", loaded.notes);
    }
}

/// They load as they are and with every line switched on.
#[test]
fn the_examples_name_every_setting_with_its_default() {
    let (toml, dotenv) = (include_str!("../../tollfree.example.toml"), include_str!("../../.env.example"));
    let all_on = |text: &str| {
        let on = |line: &str| line.strip_prefix("#= ").unwrap_or(line).to_owned();
        text.lines().map(on).collect::<Vec<_>>().join("\n")
    };
    for (toml, dotenv) in [(toml.to_owned(), dotenv.to_owned()), (all_on(toml), all_on(dotenv))] {
        let folder = folder(&[("tollfree.toml", &toml), (".env", &dotenv), ("clients.toml", "")]);
        load(&BTreeMap::new(), folder.path()).unwrap();
    }
    for setting in setting_names::SETTINGS.iter() {
        let (section, key) = setting.path.split_once('.').unwrap();
        let after = toml.split(&format!("[{section}]\n")).nth(1).expect(section);
        let mut lines = after.lines().take_while(|line| !line.starts_with('['));
        let line = lines.find_map(|line| line.strip_prefix(&format!("#= {key} = "))).expect(&setting.path);
        let default = line.split(" #").next().unwrap().trim().trim_matches('"');
        assert!(setting.default == "unset" || setting.default == default, "{}: {line}", setting.path);
        let short = setting.variables.iter().filter(|name| !name.starts_with("TOLLFREE__"));
        assert!(short.clone().all(|name| dotenv.contains(&**name)), "{} is not in .env.example", setting.path);
        assert!(short.clone().all(|name| line.contains(&**name)), "{}: {line}", setting.path);
    }
    for name in SECRETS.into_iter().flatten().filter(|name| name.starts_with(|c: char| c.is_uppercase())) {
        assert!(dotenv.contains(name), "{name} is not in .env.example");
    }
    for name in ["ENDPOINT", "HEADERS", "PROTOCOL", "TIMEOUT"].map(|what| format!("OTEL_EXPORTER_OTLP_{what}")) {
        assert!(dotenv.contains(&name), "{name} is not in .env.example");
    }
    for (id, provider) in &builtin().providers {
        let gone = provider.status == Some(crate::domain::provider::Status::Retired);
        assert!(
            provider.local == Some(true) || !provider.key_env.is_empty() && provider.name.is_some(),
            "{id}: a provider of the catalogue needs `name`, and `key_env` with the variable of its key"
        );
        for (model, table) in &provider.models {
            assert!(table.capabilities.is_some(), "{id}/{model}: a model of the catalogue needs `capabilities`");
        }
        assert!(
            gone || provider.key_env.iter().take(1).all(|name| dotenv.contains(name)),
            "{id}: its key is not in .env.example"
        );
    }
}

#[test]
fn a_family_needs_the_length_of_its_vectors() {
    let lab = |model: &str| {
        format!("[providers.lab]\nbase_url = \"http://gpu-box:8000/v1\"\n[providers.lab.models.e-embed]\n{model}\n")
    };
    let error = refused(&lab("family = \"own\""), &[]);
    let place = "tollfree.toml:4:1: providers.lab.models.e-embed.family: also set `dimensions`";
    assert!(error.contains(place), "{error}");
    for right in ["family = \"own\"\ndimensions = 8", "family = \"bge-m3\"", "min_dimensions = 2"] {
        assert!(load_with(&lab(right), &[]).is_ok(), "{right}");
    }
    let renamed = "[providers.mistral.models.mistral-embed]\nfamily = \"own\"\n";
    assert!(load_with(renamed, &[]).is_ok(), "the catalogue has its length");
}
