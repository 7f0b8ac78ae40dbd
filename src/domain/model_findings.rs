//! What a look at a provider's list of models has found, compared with the catalogue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::provider::Capabilities;

/// The result of the last look at one provider's list. Instants are those of the ledger's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFindings {
    pub looked_ms: i64,
    /// Number of models in the list.
    pub listed: usize,
    /// Models that the list has and the catalogue has not.
    pub new: Vec<FoundModel>,
    /// Models that the catalogue has and the list has not, and since when they are missing.
    pub gone: BTreeMap<String, i64>,
    /// Why the list could not be read, or is not trusted.
    pub problem: Option<String>,
    /// The list could not be read; the rest is what an earlier look has found.
    pub has_failed: bool,
}

/// A model that is not in the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FoundModel {
    pub id: String,
    pub context: Option<i64>,
    pub capabilities: Option<u16>,
    /// Whether all its prices are 0, if the list states prices.
    pub is_free: Option<bool>,
    pub since_ms: i64,
    /// Whether it has answered a request. Only then is it a member of meta-models.
    #[serde(skip)]
    pub is_proven: bool,
}

impl FoundModel {
    pub fn capabilities(&self) -> Option<Capabilities> {
        self.capabilities.map(Capabilities)
    }
}

/// Which models of a provider's list are served although the catalogue does not have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewModels {
    /// Those whose prices are all 0.
    Free,
    None,
}

/// Words in the ids of models that are not general chat models, or that are known to cost.
const UNSUITABLE: [&str; 12] = [
    "embed",
    "whisper",
    "tts",
    "rerank",
    "guard",
    "moderation",
    "image",
    "video",
    "audio",
    "lyria",
    "-paid",
    ":online",
];

impl NewModels {
    /// Why a new model is not served; `None` if it is.
    pub fn refuses(self, model: &FoundModel) -> Option<&'static str> {
        match (self, model.is_free) {
            _ if UNSUITABLE.iter().any(|word| model.id.to_lowercase().contains(word)) => {
                Some("it is no general chat model, by its name")
            }
            (Self::None, _) => Some("its limits are not known: list it in the file to serve it"),
            (Self::Free, Some(true)) => None,
            (Self::Free, Some(false)) => Some("it has a price"),
            (Self::Free, None) => Some("its price is not stated"),
        }
    }
}

/// One model of a provider's list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListedModel {
    /// The id without the prefix of the list (`models/`).
    pub id: String,
    /// Tokens of prompt and answer together, if the server states them.
    pub context: Option<i64>,
    /// What the model can do, if the server states it.
    pub capabilities: Option<Capabilities>,
    /// Whether all its prices are 0, if the server states prices.
    pub is_free: Option<bool>,
}

impl ModelFindings {
    /// Compares a list with the catalogue's models, each with all its names. `before`: the last findings, whose instants stay.
    pub fn compare(catalogue: &[Vec<&str>], list: &[ListedModel], before: Option<&Self>, now_ms: i64) -> Self {
        let is_listed = |names: &Vec<&str>| list.iter().any(|model| names.contains(&&*model.id));
        let missing: Vec<&str> =
            catalogue.iter().filter(|names| !is_listed(names)).filter_map(|names| names.first().copied()).collect();
        let since =
            |id: &str| before.and_then(|before| before.new.iter().find(|new| new.id == id)).map(|new| new.since_ms);
        let is_known = |id: &str| catalogue.iter().any(|names| names.contains(&id));
        let new = list.iter().filter(|model| !is_known(&model.id)).map(|model| FoundModel {
            since_ms: since(&model.id).unwrap_or(now_ms),
            id: model.id.clone(),
            context: model.context,
            capabilities: model.capabilities.map(|capabilities| capabilities.0),
            is_free: model.is_free,
            is_proven: false,
        });
        let mut findings = Self { looked_ms: now_ms, listed: list.len(), new: new.collect(), ..Self::default() };
        // A list in another form than the catalogue expects must not retire everything.
        if missing.len() * 2 > catalogue.len() {
            findings.problem =
                Some(format!("the list lacks {} of {} models of the catalogue", missing.len(), catalogue.len()));
            findings.gone = before.map(|before| before.gone.clone()).unwrap_or_default();
        } else {
            let gone_since = |id: &str| before.and_then(|before| before.gone.get(id)).copied().unwrap_or(now_ms);
            findings.gone = missing.into_iter().map(|id| (id.to_owned(), gone_since(id))).collect();
        }
        findings
    }

    /// The last findings, after a list could not be read.
    pub fn failed(before: Option<&Self>, problem: String, now_ms: i64) -> Self {
        Self { looked_ms: now_ms, problem: Some(problem), has_failed: true, ..before.cloned().unwrap_or_default() }
    }

    /// Whether a catalogue built from `self` and one built from `other` are the same.
    pub fn serves_as(&self, other: &Self) -> bool {
        self.new == other.new && self.gone.keys().eq(other.gone.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(ids: &[&str]) -> Vec<ListedModel> {
        ids.iter()
            .map(|id| ListedModel { id: (*id).to_owned(), is_free: Some(true), ..ListedModel::default() })
            .collect()
    }

    #[test]
    fn new_and_gone_models_keep_the_instant_at_which_they_were_first_noticed() {
        let catalogue = [vec!["a", "alias-of-a"], vec!["b"], vec!["c"]];
        let first = ModelFindings::compare(&catalogue, &list(&["alias-of-a", "b", "x"]), None, 1_000);
        assert_eq!(first.gone, BTreeMap::from([("c".to_owned(), 1_000)]));
        assert_eq!((first.new.len(), &*first.new[0].id, first.new[0].since_ms), (1, "x", 1_000));
        let second = ModelFindings::compare(&catalogue, &list(&["a", "b", "x", "y"]), Some(&first), 2_000);
        assert_eq!((second.gone["c"], second.new[0].since_ms, second.new[1].since_ms), (1_000, 1_000, 2_000));
        assert!(!second.serves_as(&first) && second.serves_as(&second));
        let back = ModelFindings::compare(&catalogue, &list(&["a", "b", "c"]), Some(&second), 3_000);
        assert!(back.gone.is_empty() && back.new.is_empty());
    }

    #[test]
    fn a_list_that_names_few_of_the_catalogues_models_retires_none() {
        let catalogue = [vec!["a"], vec!["b"], vec!["c"]];
        let strange = ModelFindings::compare(&catalogue, &list(&["models/a", "models/b", "c"]), None, 1_000);
        assert!(strange.gone.is_empty() && strange.problem.is_some(), "{strange:?}");
        let empty = ModelFindings::compare(&catalogue, &[], None, 1_000);
        assert!(empty.gone.is_empty() && empty.problem.is_some());
    }

    #[test]
    fn only_free_general_models_are_served() {
        let model = |id: &str, is_free| FoundModel { id: id.to_owned(), is_free, ..FoundModel::default() };
        assert_eq!(NewModels::Free.refuses(&model("qwen/qwen4:free", Some(true))), None);
        for (id, is_free) in [("qwen/qwen4", Some(false)), ("qwen/qwen4", None), ("qwen/Embed-4:free", Some(true))] {
            assert!(NewModels::Free.refuses(&model(id, is_free)).is_some(), "{id}");
        }
        assert!(NewModels::None.refuses(&model("qwen/qwen4", Some(true))).is_some());
    }
}
