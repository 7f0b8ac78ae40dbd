//! Who may import whom: arrows between rooms, one door per outside crate, no circles between files. Reads the syntax trees of `src/`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use syn::{
    Attribute, Item, UseTree,
    visit::{self, Visit},
};

use super::house_rules::{files, root};

/// Rooms by rank; an arrow goes from a lower rank to a higher one. Rooms of one rank do not know each other.
const RANKS: [&[&str]; 8] = [
    &["main"],
    &["cli"],
    &["app", "simulator"],
    &["api"],
    &["flow"],
    &["plan", "ledger", "upstream", "relay", "record", "protocol"],
    &["catalog", "config", "setup"],
    &["domain", "telemetry", "shutdown", "suggest", "json", "memo", "memory"],
];

/// The exceptions: the end of a stream is the end of its lease; the catalogue is built from the settings.
const ALSO: [(&str, &str); 3] = [("relay", "upstream"), ("relay", "ledger"), ("catalog", "config")];

/// The simulator judges the ledger, so it shares only words for windows and the way to shut down.
const SIMULATOR_KNOWS: [&str; 3] = ["domain", "shutdown", "telemetry"];

/// Outside crate → the only places that may name it.
const DOORS: [(&str, &[&str]); 26] = [
    ("actix_web", &["src/api/", "src/app/", "src/simulator/"]),
    ("actix_http", &["src/api/", "src/app/", "src/simulator/"]),
    ("actix_service", &["src/app/"]),
    ("rustix", &["src/app/", "src/cli/secret_prompt.rs", "src/ledger/admission/", "src/ledger/embedded/"]),
    ("utoipa", &["src/api/"]),
    ("deadpool_redis", &["src/ledger/redis/"]),
    ("redis", &["src/ledger/redis/"]),
    ("mlua", &["src/ledger/embedded/"]),
    ("fjall", &["src/ledger/embedded/"]),
    ("ring", &["src/config/travelling_catalogue.rs", "src/ledger/provider_keys/", "src/protocol/responses/"]),
    ("reqwest", &["src/upstream/"]),
    ("rust_embed", &["src/api/"]),
    ("clap_complete", &["src/cli/manual.rs"]),
    ("clap_mangen", &["src/cli/manual.rs"]),
    ("jsonc_parser", &["src/setup/edit/"]),
    ("toml_edit", &["src/setup/edit/"]),
    ("yaml_edit", &["src/setup/edit/"]),
    ("saphyr_parser", &["src/setup/edit/"]),
    ("opentelemetry", &["src/telemetry/", "src/record/metrics/"]),
    ("opentelemetry_sdk", &["src/telemetry/"]),
    ("opentelemetry_otlp", &["src/telemetry/"]),
    ("opentelemetry_http", &["src/telemetry/"]),
    ("opentelemetry_prometheus", &["src/telemetry/"]),
    ("opentelemetry_appender_tracing", &["src/telemetry/"]),
    ("tracing_opentelemetry", &["src/telemetry/"]),
    ("prometheus", &["src/telemetry/"]),
];

/// `["ledger", "admission", "admit"]`; the crate itself is empty.
type ModulePath = Vec<String>;

/// One file of `src/`, as far as imports concern it. Code under `cfg(test)` is left out.
#[derive(Default)]
struct Module {
    file: String,
    /// Absolute paths within the crate that the file names, its own items included.
    names: BTreeSet<ModulePath>,
    /// First segments of paths that are not ours: outside crates, and whatever is in scope.
    outside: BTreeSet<String>,
    /// What it re-exports: name → where that comes from.
    reexports: BTreeMap<String, ModulePath>,
}

impl Module {
    fn is_door(&self) -> bool {
        self.file.ends_with("/mod.rs") || self.file == "src/lib.rs"
    }

    fn room(&self) -> &str {
        let path = self.file.trim_start_matches("src/");
        path.split('/').next().unwrap().trim_end_matches(".rs")
    }
}

fn module_path(file: &str) -> ModulePath {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" || path == "main" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
            || a.path().is_ident("test")
    })
}

struct Reader {
    module: Module,
    /// Where the visited code stands, inline modules included.
    here: ModulePath,
    children: BTreeSet<String>,
    /// Files that exist for tests only, by module path.
    test_files: BTreeSet<ModulePath>,
}

impl Reader {
    /// Takes a path as written to an absolute one within the crate; `None`: it belongs to another crate, or is a local name.
    fn resolve(&self, path: &[String]) -> Option<ModulePath> {
        let mut at = self.here.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" | "tollfree" => {
                at.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|segment| segment == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            child if self.children.contains(child) => {}
            _ => return None,
        }
        at.extend(rest.iter().cloned());
        Some(at)
    }

    fn see(&mut self, path: &[String]) {
        match self.resolve(path) {
            Some(absolute) => {
                self.module.names.insert(absolute);
            }
            None => self.module.outside.extend(path.first().cloned()),
        }
    }

    fn see_use(&mut self, tree: &UseTree, prefix: &mut ModulePath, reexported: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.see_use(&path.tree, prefix, reexported);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.see_use(tree, prefix, reexported)),
            UseTree::Name(name) => {
                self.see_imported(prefix, &name.ident.to_string(), &name.ident.to_string(), reexported);
            }
            UseTree::Rename(name) => {
                self.see_imported(prefix, &name.ident.to_string(), &name.rename.to_string(), reexported);
            }
            UseTree::Glob(_) => self.see(&prefix.clone()),
        }
    }

    fn see_imported(&mut self, prefix: &ModulePath, name: &str, called: &str, reexported: bool) {
        let mut path = prefix.clone();
        if name != "self" {
            path.push(name.to_owned());
        }
        if reexported && let Some(absolute) = self.resolve(&path) {
            self.module.reexports.insert(called.to_owned(), absolute);
        }
        self.see(&path);
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(i) => &i.attrs,
            Item::Impl(i) => &i.attrs,
            Item::Mod(i) => &i.attrs,
            Item::Struct(i) => &i.attrs,
            Item::Use(i) => &i.attrs,
            _ => &vec![],
        };
        if let Item::Mod(declared) = item
            && is_test_only(attributes)
        {
            let mut path = self.here.clone();
            path.push(declared.ident.to_string());
            self.test_files.insert(path);
        }
        if !is_test_only(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_some() {
            self.here.push(module.ident.to_string());
            visit::visit_item_mod(self, module);
            self.here.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let reexported = !matches!(item.vis, syn::Visibility::Inherited);
        self.see_use(&item.tree, &mut Vec::new(), reexported);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.see(&path.segments.iter().map(|s| s.ident.to_string()).collect::<Vec<_>>());
        }
        visit::visit_path(self, path);
    }
}

/// Every module of the crate by its path. `main.rs` is left out: it only starts the command line.
fn modules() -> BTreeMap<ModulePath, Module> {
    let mut modules = BTreeMap::new();
    let mut test_files = BTreeSet::new();
    for (file, text) in files("src", "rs") {
        if file == "src/main.rs" {
            continue;
        }
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let here = module_path(&file);
        let children = syntax.items.iter().filter_map(|item| match item {
            Item::Mod(child) => Some(child.ident.to_string()),
            _ => None,
        });
        let mut reader = Reader {
            children: children.collect(),
            module: Module { file, ..Module::default() },
            here: here.clone(),
            test_files: BTreeSet::new(),
        };
        reader.visit_file(&syntax);
        test_files.append(&mut reader.test_files);
        modules.insert(here, reader.module);
    }
    modules.retain(|path, _| !(1..=path.len()).any(|n| test_files.contains(&path[..n])));
    modules
}

/// The file that defines what a path names: the longest prefix that is a module, followed through re-exports.
fn defined_in<'m>(modules: &'m BTreeMap<ModulePath, Module>, path: &[String], depth: usize) -> Option<&'m Module> {
    let length = (0..=path.len()).rev().find(|n| modules.contains_key(&path[..*n]))?;
    let module = &modules[&path[..length]];
    match path.get(length).and_then(|name| module.reexports.get(name)) {
        Some(origin) if depth < 8 && *origin != path => defined_in(modules, origin, depth + 1),
        _ => Some(module),
    }
}

fn rank_of(room: &str) -> Option<usize> {
    RANKS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn arrows_between_rooms_point_right_only() {
    let mut wrong = BTreeSet::new();
    for module in modules().values().filter(|module| module.file != "src/lib.rs") {
        let (file, from) = (&module.file, module.room());
        let from_rank = rank_of(from).unwrap_or_else(|| panic!("{file}: the room `{from}` has no place in the house"));
        for to in module.names.iter().filter_map(|path| path.first()) {
            let Some(to_rank) = rank_of(to) else { continue };
            let allowed = to == from
                || (from_rank == RANKS.len() - 1 && to_rank == from_rank)
                || ALSO.contains(&(from, to.as_str()))
                || if from == "simulator" {
                    SIMULATOR_KNOWS.contains(&to.as_str())
                } else {
                    to_rank > from_rank && (to != "simulator" || from == "cli")
                };
            if !allowed {
                wrong.insert(format!("{file}: {from} → {to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that point the wrong way: {wrong:#?}");
}

#[test]
fn an_outside_crate_has_one_door() {
    let mut wrong = Vec::new();
    for module in modules().values() {
        for (outside, places) in DOORS {
            if module.outside.contains(outside) && !places.iter().any(|place| module.file.starts_with(place)) {
                wrong.push(format!("{} names `{outside}`, whose door is {places:?}", module.file));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A `mod.rs` is the door of its folder: it declares, re-exports and holds what its files share, so it is in no circle.
#[test]
fn files_import_each_other_in_no_circle() {
    let modules = modules();
    let arrows: BTreeMap<&str, BTreeSet<&str>> = modules
        .values()
        .filter(|module| !module.is_door())
        .map(|module| {
            let targets = module.names.iter().filter_map(|path| defined_in(&modules, path, 0));
            let targets = targets.filter(|target| !target.is_door() && target.file != module.file);
            (module.file.as_str(), targets.map(|target| target.file.as_str()).collect())
        })
        .collect();
    let reach = |from: &'_ str| {
        let (mut reached, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(file) = next.pop() {
            next.extend(
                arrows[&*file].iter().filter(|to| reached.insert((**to).to_owned())).map(|to| (*to).to_owned()),
            );
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = arrows.keys().map(|file| (*file, reach(file))).collect();
    let circles: BTreeSet<Vec<&str>> = arrows
        .keys()
        .filter(|file| reached[*file].contains(**file))
        .map(|file| {
            arrows.keys().filter(|o| reached[*file].contains(**o) && reached[*o].contains(*file)).copied().collect()
        })
        .collect();
    assert!(circles.is_empty(), "files in circles: {circles:#?}");
}

#[test]
fn the_map_in_lib_rs_names_every_room() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rooms: BTreeSet<String> = modules().keys().filter_map(|path| path.first().cloned()).collect();
    let silent: Vec<_> = rooms.iter().filter(|room| !lib.contains(&format!("mod {room}; // "))).collect();
    assert!(silent.is_empty(), "rooms that lib.rs does not explain: {silent:?}");
}
