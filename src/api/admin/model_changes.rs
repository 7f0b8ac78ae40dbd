//! Which models a provider has gained or lost since an earlier look.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{domain::ModelFindings, ledger::Findings};

/// The data of the event `models`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ModelChange<'a> {
    provider: &'a str,
    /// Models of its list that the catalogue does not have.
    new: Vec<&'a str>,
    /// Models that are not in its list any more, or that it has refused.
    gone: Vec<&'a str>,
    /// Models that were gone.
    back: Vec<&'a str>,
}

/// One change for each provider that differs.
pub(crate) fn model_changes<'a>(before: &'a Findings, after: &'a Findings) -> Vec<ModelChange<'a>> {
    let nothing = BTreeSet::new;
    let change = |(provider, found): (&'a String, &'a ModelFindings)| {
        let earlier = before.get(provider);
        let (new_before, gone_before) =
            earlier.map_or_else(|| (nothing(), nothing()), |found| (new(found), gone(found)));
        let (new, gone) = (new(found), gone(found));
        let change = ModelChange {
            provider,
            new: new.difference(&new_before).copied().collect(),
            gone: gone.difference(&gone_before).copied().collect(),
            back: gone_before.difference(&gone).copied().collect(),
        };
        let is_change = !(change.new.is_empty() && change.gone.is_empty() && change.back.is_empty());
        is_change.then_some(change)
    };
    after.iter().filter_map(change).collect()
}

fn new(found: &ModelFindings) -> BTreeSet<&str> {
    found.new.iter().map(|model| model.id.as_str()).collect()
}

fn gone(found: &ModelFindings) -> BTreeSet<&str> {
    found.gone.keys().chain(found.refused.keys()).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{FoundModel, RefusedModel};

    #[test]
    fn a_change_names_what_is_new_gone_and_back() {
        let model = |id: &str| FoundModel { id: id.to_owned(), ..FoundModel::default() };
        let found = |new: &[&str], gone: &[&str]| ModelFindings {
            new: new.iter().map(|id| model(id)).collect(),
            gone: gone.iter().map(|id| ((*id).to_owned(), 1)).collect(),
            ..ModelFindings::default()
        };
        let findings = |found: ModelFindings| Findings::from([("lab".to_owned(), found)]);
        let before = findings(found(&["a"], &["x"]));
        assert_eq!(model_changes(&before, &before), []);
        let mut after = found(&["a", "b"], &[]);
        let refused = RefusedModel { since_ms: 1, until_ms: 2, cause: "404".to_owned() };
        after.refused.insert("c".to_owned(), refused);
        let after = findings(after);
        let expected = ModelChange { provider: "lab", new: vec!["b"], gone: vec!["c"], back: vec!["x"] };
        assert_eq!(model_changes(&before, &after), [expected]);
        assert_eq!(model_changes(&Findings::new(), &before)[0].new, ["a"]);
    }
}
