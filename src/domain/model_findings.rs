//! What a look at a provider's list of models has found, compared with the catalogue.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{model_pattern, provider::Capabilities, time::DAY_MS};

/// How long a model that is in no catalogue is remembered as gone.
const REMEMBERED_MS: i64 = 14 * DAY_MS;

/// The result of the last look at one provider's list. Instants are those of the ledger's clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFindings {
    /// 0: no replica has looked yet.
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
    /// Models that a request was answered 404 or 410 for, whatever the list says.
    #[serde(skip)]
    pub refused: BTreeMap<String, RefusedModel>,
}

/// A model that its provider has answered not to have. It is not served until the next look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedModel {
    pub since_ms: i64,
    /// Then it is served again, and the next request shows whether it is back.
    pub until_ms: i64,
    /// `404`, `410`, `no such model`
    pub cause: String,
}

/// A model that is not in the catalogue.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FoundModel {
    pub id: String,
    pub context: Option<i64>,
    pub max_output: Option<i64>,
    pub capabilities: Option<u16>,
    /// Whether all its prices are 0, if the list states prices.
    pub is_free: Option<bool>,
    /// The plan that it belongs to, if the list states one.
    pub tier: Option<String>,
    /// The list says that only accounts that pay may use it.
    pub is_paid_only: bool,
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

/// A provider's own rule for what is free: which models of its list are served although the catalogue does not have them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub enum NewModels {
    /// Those whose prices are all 0.
    Free,
    /// Those of these tiers.
    OfTiers(Vec<String>),
    /// Those whose ids match one of these patterns.
    Named(Vec<String>),
    All,
    None,
}

/// The rule as it stands in a table.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"free\", \"all\", \"none\", { tier = [\"…\"] }, or a list of patterns")]
enum Written {
    Word(Word),
    Tiers { tier: Vec<String> },
    Patterns(Vec<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Free,
    All,
    None,
}

impl From<Written> for NewModels {
    fn from(written: Written) -> Self {
        match written {
            Written::Word(Word::Free) => Self::Free,
            Written::Word(Word::All) => Self::All,
            Written::Word(Word::None) => Self::None,
            Written::Tiers { tier } => Self::OfTiers(tier),
            Written::Patterns(patterns) => Self::Named(patterns),
        }
    }
}

/// Words in the ids of models that are not general chat models, or that are known to cost.
const UNSUITABLE: [&str; 16] = [
    "embed",
    "bge-",
    "whisper",
    "tts",
    "rerank",
    "guard",
    "moderation",
    "image",
    "flux",
    "diffusion",
    "video",
    "audio",
    "lyria",
    "ocr",
    "-paid",
    ":online",
];

impl NewModels {
    /// Why a new model is not served; `None` if it is. `paid`: patterns of ids that are known to cost.
    pub fn refuses(&self, model: &FoundModel, paid: &[String]) -> Option<&'static str> {
        let is_one_of = |patterns: &[String]| patterns.iter().any(|pattern| model_pattern::matches(pattern, &model.id));
        if UNSUITABLE.iter().any(|word| model.id.to_lowercase().contains(word)) {
            return Some("it is no general chat model, by its name");
        }
        if is_one_of(paid) || model.is_paid_only {
            return Some("it costs money");
        }
        match self {
            Self::None => Some("its limits are not known: list it in the file to serve it"),
            Self::All => None,
            Self::Named(patterns) => (!is_one_of(patterns)).then_some("its name is none of a free model"),
            Self::OfTiers(free) => {
                let is_free = model.tier.as_ref().is_some_and(|tier| free.contains(tier));
                (!is_free).then_some("its tier is not free")
            }
            Self::Free => match model.is_free {
                Some(true) => None,
                Some(false) => Some("it has a price"),
                None => Some("its price is not stated"),
            },
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
    /// The most tokens of an answer, if the server states them.
    pub max_output: Option<i64>,
    /// What the model can do, if the server states it.
    pub capabilities: Option<Capabilities>,
    /// Whether all its prices are 0, if the server states prices.
    pub is_free: Option<bool>,
    /// The plan that it belongs to, if the server states one.
    pub tier: Option<String>,
    /// The server says that only accounts that pay may use it.
    pub is_paid_only: bool,
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
            max_output: model.max_output,
            capabilities: model.capabilities.map(|capabilities| capabilities.0),
            is_free: model.is_free,
            tier: model.tier.clone(),
            is_paid_only: model.is_paid_only,
            is_proven: false,
        });
        let mut findings = Self { looked_ms: now_ms, listed: list.len(), new: new.collect(), ..Self::default() };
        // A list in another form than the catalogue expects must not retire everything.
        if missing.len() * 2 > catalogue.len() || list.is_empty() {
            findings.problem =
                Some(format!("the list lacks {} of {} models of the catalogue", missing.len(), catalogue.len()));
            findings.gone = before.map(|before| before.gone.clone()).unwrap_or_default();
        } else {
            let gone_since = |id: &str| before.and_then(|before| before.gone.get(id)).copied().unwrap_or(now_ms);
            let found_before = before.into_iter().flat_map(|before| before.new.iter().map(|new| &*new.id));
            let remembered = before.into_iter().flat_map(|before| &before.gone);
            let remembered = remembered.filter(|(_, since_ms)| now_ms - **since_ms < REMEMBERED_MS);
            let earlier = found_before.chain(remembered.map(|(id, _)| id.as_str()));
            let vanished = earlier.filter(|id| !is_known(id) && !list.iter().any(|model| model.id == *id));
            findings.gone = missing.into_iter().chain(vanished).map(|id| (id.to_owned(), gone_since(id))).collect();
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

    /// Since when a model of the catalogue is not served, because the list lacks it or a request was refused for it.
    pub fn gone_since(&self, id: &str) -> Option<i64> {
        let refused = self.refused.get(id).map(|refused| refused.since_ms);
        [self.gone.get(id).copied(), refused].into_iter().flatten().min()
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
        assert_eq!(back.gone, BTreeMap::from([("x".to_owned(), 3_000), ("y".to_owned(), 3_000)]), "new ones have gone");
        assert!(back.new.is_empty());
        let later = ModelFindings::compare(&catalogue, &list(&["a", "b", "c", "y"]), Some(&back), 4_000);
        assert_eq!(later.gone, BTreeMap::from([("x".to_owned(), 3_000)]));
        let forgotten = ModelFindings::compare(&catalogue, &list(&["a", "b", "c"]), Some(&later), 15 * DAY_MS);
        assert_eq!(forgotten.gone.keys().collect::<Vec<_>>(), ["y"]);
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
        assert_eq!(NewModels::Free.refuses(&model("qwen/qwen4:free", Some(true)), &[]), None);
        for (id, is_free) in [("qwen/qwen4", Some(false)), ("qwen/qwen4", None), ("qwen/Embed-4:free", Some(true))] {
            assert!(NewModels::Free.refuses(&model(id, is_free), &[]).is_some(), "{id}");
        }
        assert!(NewModels::None.refuses(&model("qwen/qwen4", Some(true)), &[]).is_some());
    }

    #[test]
    fn each_provider_has_its_own_rule_for_what_is_free() {
        #[derive(Deserialize)]
        struct Table {
            new_models: NewModels,
        }
        let rule = |text: &str| toml::from_str::<Table>(&format!("new_models = {text}")).map(|table| table.new_models);
        let model = |id: &str| FoundModel { id: id.to_owned(), ..FoundModel::default() };
        let paid = ["*/kimi-*".to_owned()];

        let named = rule("[\"*-free\", \"big-pickle\"]").unwrap();
        assert_eq!(named.refuses(&model("minimax-m3-free"), &paid), None);
        assert!(named.refuses(&model("minimax-m3"), &paid).is_some());
        let tiers = rule("{ tier = [\"turbo\"] }").unwrap();
        let of_tier = |tier: &str| FoundModel { tier: Some(tier.to_owned()), ..model("m") };
        assert_eq!(tiers.refuses(&of_tier("turbo"), &[]), None);
        assert!(tiers.refuses(&of_tier("pro"), &[]).is_some() && tiers.refuses(&model("m"), &[]).is_some());
        let all = rule("\"all\"").unwrap();
        assert_eq!(all.refuses(&model("acme/m"), &paid), None);
        assert_eq!(all.refuses(&model("acme/kimi-k3"), &paid), Some("it costs money"));
        assert!(all.refuses(&FoundModel { is_paid_only: true, ..model("m") }, &[]).is_some());
        let wrong = rule("\"some\"").unwrap_err().to_string();
        assert!(wrong.contains("a list of patterns"), "{wrong}");
    }
}
