//! The page, the scripts and the files, through the app as it is served.

use actix_web::{http::header::HOST, test::TestRequest};
use data_encoding::BASE64;

use super::*;
use crate::{
    api::test_support::{app, call, text},
    config::Settings,
    setup::OTHERS,
};

#[actix_web::test]
async fn scripts_have_the_address_by_which_they_were_called_or_the_one_that_is_set() {
    let get = |path: &str, host: &str| TestRequest::get().uri(path).insert_header((HOST, host.to_owned()));
    let unset = app(Settings::default()).await;
    let (status, script) = text(&unset, get("/setup/codex.sh", "127.0.0.1:3000")).await;
    assert!(status == 200 && script.contains("url='http://127.0.0.1:3000'"), "{script}");
    let mut settings = Settings::default();
    settings.server.public_url = Some("https://gateway.example/llm".to_owned());
    let set = app(settings).await;
    for path in ["/setup", "/setup/codex.sh", "/setup/codex.ps1"] {
        let (status, script) = text(&set, get(path, "127.0.0.1")).await;
        assert!(status == 200 && script.contains("https://gateway.example/llm"), "{path}: {script}");
        assert!(!script.contains("@URL@") && !script.contains("@TOOL@") && !script.contains("@VARIABLES@"), "{path}");
    }
    for host in ["a'b", "$(id)", "a b"] {
        let (status, _, body) = call(&unset, get("/setup/codex.sh", host)).await;
        assert!(status == 400 || status == 403, "{host}: {body}");
    }
    let (status, _, body) = call(&unset, get("/setup/emacs.sh", "localhost")).await;
    assert_eq!((status, &body["error"]["code"]), (404, &"not_found".into()));
}

#[actix_web::test]
async fn the_address_of_a_trusted_proxy_is_the_one_of_its_headers() {
    let mut settings = Settings::default();
    settings.http.trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    settings.server.host = "0.0.0.0".into();
    let app = app(settings).await;
    let get = |peer: &str, host: &'static str, proto: &'static str| {
        TestRequest::get()
            .uri("/setup/codex.sh")
            .peer_addr(peer.parse().unwrap())
            .insert_header((HOST, "localhost:3000"))
            .insert_header(("x-forwarded-host", host))
            .insert_header(("x-forwarded-proto", proto))
    };
    for (peer, host, proto, url) in [
        ("10.1.2.3:9", "gateway.example", "https", "https://gateway.example"),
        ("10.1.2.3:9", "gateway.example:8443", "HTTPS", "https://gateway.example:8443"),
        ("10.1.2.3:9", "gateway.example", "http", "http://gateway.example"),
        // Anybody else could have scripts send keys elsewhere.
        ("192.0.2.1:9", "evil.example", "https", "http://localhost:3000"),
    ] {
        let (status, script) = text(&app, get(peer, host, proto)).await;
        assert!(status == 200 && script.contains(&format!("url='{url}'")), "{peer} {host}: {status} {script}");
    }
    let (status, _, body) = call(&app, get("10.1.2.3:9", "a'b", "https")).await;
    assert_eq!((status, &body["error"]["code"]), (400, &"invalid_value".into()));
}

#[test]
fn a_broken_file_is_an_error_with_its_line_and_column() {
    let form = BTreeMap::from([("HOME".to_owned(), "/h".to_owned()), ("text2".to_owned(), "a = = 1".to_owned())]);
    let models =
        json!({ "data": [{ "id": "free", "owned_by": "tollfree", "capabilities": ["tools"], "status": "active" }] });
    let gateway = Gateway::new("http://gw", &models, &json!({}), json!({}));
    let places = Places::new(form.clone(), System::Linux).unwrap();
    let target = Target::new(gateway, "key".into(), places, None).unwrap();
    let codex = tool("codex").unwrap();
    let error = files(codex, &target, &form).unwrap_err();
    assert!(error.to_string().starts_with("~/.codex/config.toml was left as it is: line 1, column 5"), "{error}");
    let all = files(codex, &target, &BTreeMap::new()).unwrap();
    let config = all.lines().last().unwrap().split(' ').next_back().unwrap();
    assert!(String::from_utf8(BASE64.decode(config.as_bytes()).unwrap()).unwrap().contains("http://gw/v1"));
}

/// Each tool has its part of the page, from its headline to the next.
#[test]
fn the_page_says_which_tools_were_not_tried() {
    let page = page::html("https://gateway.example");
    let says_so = |id: &str| {
        let part = page.split_once(&format!("<h2 id={id}>")).unwrap_or_else(|| panic!("{id} is not on the page")).1;
        part.split("<h2").next().unwrap().contains("Not tried for real")
    };
    for (id, is_tried) in TOOLS.iter().map(|t| (t.id, t.is_tried)).chain(OTHERS.iter().map(|o| (o.id, o.is_tried))) {
        assert_eq!(says_so(id), !is_tried, "{id}");
    }
    assert!(says_so("zed") && !says_so("codex"));
}

#[test]
fn no_script_holds_a_secret() {
    for tool in &TOOLS {
        for end in ["sh", "ps1"] {
            let script = script(&format!("{}.{end}", tool.id), "https://gateway.example").unwrap();
            assert!(!script.contains("sk-tf-"), "{}", tool.id);
        }
    }
}
