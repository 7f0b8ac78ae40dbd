//! Rules of `PSScriptAnalyzer`, on the syntax trees of the PowerShell scripts as they are served.

use std::collections::BTreeSet;

use tree_sitter::{Node, Parser, Tree};

use super::*;

/// Approved ones of those that change nothing without a question (`PSUseShouldProcessForStateChangingFunctions`).
const VERBS: [&str; 6] = ["Get", "Read", "Test", "Write", "Invoke", "Save"];
/// What the scripts call, beside their own functions. None is an alias, and none runs text or shows what should be output.
const COMMANDS: [&str; 9] = [
    "Copy-Item",
    "icacls.exe",
    "Invoke-RestMethod",
    "New-Object",
    "Out-Null",
    "Read-Host",
    "Set-StrictMode",
    "Split-Path",
    "Test-Path",
];
/// Variables that PowerShell sets itself.
const AUTOMATIC: [&str; 22] = [
    "_",
    "args",
    "error",
    "event",
    "eventargs",
    "false",
    "foreach",
    "home",
    "host",
    "input",
    "lastexitcode",
    "matches",
    "myinvocation",
    "null",
    "pid",
    "profile",
    "psitem",
    "pwd",
    "sender",
    "shellid",
    "this",
    "true",
];

struct Script {
    text: String,
    tree: Tree,
}

impl Script {
    fn of(tool: &Tool) -> Self {
        Self::parse(&script(&format!("{}.ps1", tool.id), "https://gateway.example").unwrap())
    }

    fn parse(text: &str) -> Self {
        let mut parser = Parser::new();
        parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
        Self { tree: parser.parse(text, None).unwrap(), text: text.to_owned() }
    }

    fn text(&self, node: Node<'_>) -> &str {
        &self.text[node.byte_range()]
    }

    fn names(&self, node: Node<'_>, kind: &str) -> Vec<&str> {
        all(node, &[kind]).into_iter().map(|node| self.text(node)).collect()
    }

    /// Names of variables below `node`, without those of the environment; those that are given a value, and the others.
    fn variables(&self, node: Node<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
        let all = all(node, &["variable"]).into_iter().map(|node| {
            let name = self.text(node).trim_start_matches("${").trim_start_matches('$').trim_end_matches('}');
            (name.to_lowercase(), node)
        });
        let (given, used): (Vec<_>, Vec<_>) =
            all.filter(|(name, _)| !name.starts_with("env:")).partition(|(_, node)| is_given_a_value(*node));
        let names = |list: Vec<(String, Node<'_>)>| list.into_iter().map(|(name, _)| name).collect();
        (names(given), names(used))
    }

    /// The rules that the script breaks.
    fn faults(&self) -> Vec<String> {
        let root = self.tree.root_node();
        let mut faults = Vec::new();
        if root.has_error() {
            faults.push("it cannot be parsed".to_owned());
        }
        let own = self.names(root, "function_name");
        for name in &own {
            let (verb, noun) = name.split_once('-').unwrap_or_default();
            if !VERBS.contains(&verb) {
                faults.push(format!("PSUseApprovedVerbs: {name}"));
            }
            if noun.ends_with('s') {
                faults.push(format!("PSUseSingularNouns: {name}"));
            }
        }
        for name in self.names(root, "command_name") {
            if !own.contains(&name) && !COMMANDS.contains(&name) && name != "Write-Output" {
                faults.push(format!("a command that is not expected: {name}"));
            }
        }
        let (given, used) = self.variables(root);
        for name in given.difference(&used).filter(|name| *name != "erroractionpreference") {
            faults.push(format!("PSUseDeclaredVarsMoreThanAssignments: {name}"));
        }
        for name in used.difference(&given).filter(|name| !AUTOMATIC.contains(&name.as_str())) {
            faults.push(format!("PSUseVariableBeforeAssignment: {name}"));
        }
        for name in given.iter().filter(|name| AUTOMATIC.contains(&name.as_str())) {
            faults.push(format!("PSAvoidAssignmentToAutomaticVariable: {name}"));
        }
        for function in all(root, &["function_statement"]) {
            let parameters = all(function, &["script_parameter"]);
            let (_, used) = self.variables(function);
            let unused = parameters.iter().flat_map(|parameter| self.variables(*parameter).0);
            faults.extend(unused.filter(|name| !used.contains(name)).map(|n| format!("PSReviewUnusedParameter: {n}")));
        }
        faults
    }
}

/// Every node of these kinds, from `node` on.
fn all<'a>(node: Node<'a>, kinds: &[&str]) -> Vec<Node<'a>> {
    let (mut found, mut left) = (Vec::new(), vec![node]);
    while let Some(node) = left.pop() {
        if kinds.contains(&node.kind()) {
            found.push(node);
        }
        left.extend((0..node.child_count()).filter_map(|nth| node.child(nth)));
    }
    found
}

/// Whether the variable is what is assigned to, and not part of a place in another.
fn is_given_a_value(variable: Node<'_>) -> bool {
    let mut node = variable;
    while let Some(parent) = node.parent() {
        match parent.kind() {
            "left_assignment_expression" | "script_parameter" => return true,
            "foreach_statement" => return parent.named_child(0) == Some(node),
            "element_access" | "member_access" | "invokation_expression" | "pipeline" | "statement_block" => {
                return false;
            }
            _ => node = parent,
        }
    }
    false
}

#[test]
fn the_scripts_keep_the_rules() {
    for tool in &TOOLS {
        let script = Script::of(tool);
        assert_eq!(script.faults(), Vec::<String>::new(), "{}", tool.id);
        assert!(script.text.is_ascii(), "PSUseBOMForUnicodeEncodedFile");
        for line in script.text.lines() {
            assert_eq!(line, line.trim_end(), "PSAvoidTrailingWhitespace");
        }
        for word in ["-AsPlainText", "$global:", ";;"] {
            assert!(!script.text.contains(word), "{word}");
        }
    }
}

#[test]
fn each_rule_finds_what_breaks_it() {
    for (text, fault) in [
        ("$a = (1", "it cannot be parsed"),
        ("$unused = 1", "PSUseDeclaredVarsMoreThanAssignments: unused"),
        ("Test-Path $missing", "PSUseVariableBeforeAssignment: missing"),
        ("$input = 1; Test-Path $input", "PSAvoidAssignmentToAutomaticVariable: input"),
        ("foreach ($matches in @(1)) { Test-Path $matches }", "PSAvoidAssignmentToAutomaticVariable: matches"),
        ("function Get-A { param([string]$B) return 1 }", "PSReviewUnusedParameter: b"),
        ("function Fetch-A { return 1 }", "PSUseApprovedVerbs: Fetch-A"),
        ("function Get-Things { return 1 }", "PSUseSingularNouns: Get-Things"),
        ("iex 'a'", "a command that is not expected: iex"),
        ("Write-Host 'a'", "a command that is not expected: Write-Host"),
    ] {
        let faults = Script::parse(text).faults();
        assert!(faults.iter().any(|found| found == fault), "{text}: {faults:?}");
    }
}
