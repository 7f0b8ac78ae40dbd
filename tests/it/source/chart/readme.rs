//! `helm/tollfree/README.md`, written from the comments of `values.yaml`.

use std::fmt::Write;

use super::{
    super::generated::{cell, check},
    CHART, root,
};

/// A line `name: value` of the file.
struct Entry {
    path: String,
    depth: usize,
    /// Without a comment at its end. Empty: a table of further entries.
    value: String,
    comment: String,
}

enum Line {
    Section(String),
    Entry(Entry),
}

fn lines(yaml: &str) -> Vec<Line> {
    let (mut found, mut comment, mut path) = (Vec::new(), Vec::<String>::new(), Vec::<String>::new());
    for line in yaml.lines() {
        let text = line.trim_start();
        if let Some(title) = text.strip_prefix("# ---- ") {
            found.push(Line::Section(title.trim_end_matches('-').trim().to_owned()));
        } else if let Some(first) = text.strip_prefix("# -- ") {
            comment = vec![first.to_owned()];
        } else if let Some(more) = text.strip_prefix('#').filter(|_| !comment.is_empty()) {
            // Lines of an example are indented.
            let example = more.starts_with("     ");
            comment.push(if example { format!("`{}`,", more.trim()) } else { more.trim().to_owned() });
        } else if let Some((name, value)) = text.split_once(':').filter(|_| !text.starts_with('#')) {
            let depth = (line.len() - text.len()) / 2;
            path.truncate(depth);
            path.push(name.to_owned());
            let value = value.split(" #").next().unwrap().trim().to_owned();
            let comment = std::mem::take(&mut comment).join(" ").trim_end_matches(',').to_owned();
            found.push(Line::Entry(Entry { path: path.join("."), depth, value, comment }));
        } else {
            comment.clear();
        }
    }
    found
}

/// The end of a table: entries below it that have no comments are its default.
fn is_leaf(lines: &[Line], at: usize, depth: usize) -> bool {
    let below = lines[at + 1..].iter().map_while(|line| match line {
        Line::Entry(entry) if entry.depth > depth => Some(entry),
        _ => None,
    });
    below.clone().all(|entry| entry.comment.is_empty())
}

fn readme(yaml: &str) -> String {
    let lines = lines(yaml);
    let mut page = "# Tollfree, a Helm chart\n\n[Kubernetes](../../docs/kubernetes.md) explains the installation, secrets and updates. The defaults are secure \
                    and work:\ntwo replicas that scale with load, a bundled Redis, an ingress with TLS, and a key required from every caller.\n\n\
                    <!-- tried by make test-k8s -->\n```sh\nhelm install tollfree helm/tollfree --set image.repository=registry.example.com/tollfree \\\n  \
                    --set 'providers.existingSecrets={provider-keys}' --set ingress.host=llm.example.com\n```\n\n\
                    The tables are written from the comments of `values.yaml` by `make docs`.\n\n## General\n\n| value | default | meaning |\n|---|---|---|\n"
        .to_owned();
    let mut skip_below = usize::MAX;
    for (at, line) in lines.iter().enumerate() {
        let entry = match line {
            Line::Section(title) => {
                write!(page, "\n## {title}\n\n| value | default | meaning |\n|---|---|---|\n").unwrap();
                skip_below = usize::MAX;
                continue;
            }
            Line::Entry(entry) => entry,
        };
        if entry.depth > skip_below {
            continue;
        }
        skip_below = usize::MAX;
        let mut value = entry.value.clone();
        if value.is_empty() {
            if !is_leaf(&lines, at, entry.depth) {
                assert!(entry.comment.is_empty() || entry.depth == 0, "{}: a comment of a table is lost", entry.path);
                continue;
            }
            let below = lines[at + 1..].iter().map_while(|line| match line {
                Line::Entry(inner) if inner.depth > entry.depth => Some(inner),
                _ => None,
            });
            let names = below.filter(|inner| !inner.value.is_empty()).map(|inner| {
                format!("{}: {}", inner.path.trim_start_matches(&entry.path).trim_start_matches('.'), inner.value)
            });
            value = format!("{{ {} }}", names.collect::<Vec<_>>().join(", "));
            skip_below = entry.depth;
        }
        assert!(!entry.comment.is_empty(), "values.yaml: {} has no comment that begins with `# -- `", entry.path);
        let shown = if value == "\"\"" { String::new() } else { format!("`{}`", cell(&value)) };
        writeln!(page, "| `{}` | {shown} | {} |", entry.path, cell(&entry.comment)).unwrap();
    }
    page
}

#[test]
fn the_readme_describes_every_value() {
    let yaml = std::fs::read_to_string(root().join(CHART).join("values.yaml")).unwrap();
    check(&format!("{CHART}/README.md"), &readme(&yaml));
}
