//! The findings of the pool.

use std::collections::BTreeMap;

use crate::domain::ModelFindings;

/// What was found in the lists of models, by provider.
pub type Findings = BTreeMap<String, ModelFindings>;
