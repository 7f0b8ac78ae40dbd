//! Which vectors can be compared with each other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Properties of an embedding model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vectors {
    /// The canonical model. All models of one family compute the same vectors, whoever serves them.
    pub family: Arc<str>,
    /// Length of a vector. `None`: only its server knows.
    pub dimensions: Option<u32>,
    /// Its vectors can have any length from this one on. `None`: only `dimensions`.
    pub min_dimensions: Option<u32>,
    /// Texts in one call.
    pub max_inputs: u32,
    /// Tokens of all texts in one call.
    pub max_batch_tokens: Option<i64>,
}

/// Vectors of one space can be compared with each other, and with no others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VectorSpace {
    pub family: Arc<str>,
    /// `None`: the length that the model's server chooses.
    pub dimensions: Option<u32>,
}

impl Vectors {
    /// The space of the model's vectors of a requested length. `None`: it has no vectors of that length.
    pub fn space(&self, requested: Option<u32>) -> Option<VectorSpace> {
        let dimensions = match (requested, self.dimensions) {
            (None, own) => own,
            // Its server decides, and the length of what it sends is checked.
            (Some(length), None) => Some(length),
            (Some(length), Some(own)) => {
                let is_shorter = self.min_dimensions.is_some_and(|least| (least..own).contains(&length));
                Some((length == own || is_shorter).then_some(length)?)
            }
        };
        Some(VectorSpace { family: self.family.clone(), dimensions })
    }
}

/// What one call has computed, in the order of its inputs.
#[derive(Debug, Serialize, Deserialize)]
pub struct ComputedVectors {
    /// Each an array of numbers, or base64 of little-endian `f32`, as the provider wrote it.
    pub vectors: Vec<Box<RawValue>>,
    /// As the provider counted them.
    pub prompt_tokens: Option<i64>,
}

impl ComputedVectors {
    /// Numbers in each vector, which is the same for all vectors of one call.
    pub fn length(&self) -> Option<usize> {
        self.vectors.first().and_then(|vector| vector_length(vector.get()))
    }
}

/// Numbers in a vector: an array of numbers, or base64 of little-endian `f32`. `None`: it is neither.
pub fn vector_length(vector: &str) -> Option<usize> {
    let vector = vector.trim();
    if let Some(numbers) = vector.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let is_number =
            |b: u8| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E' | b',' | b' ' | b'\n' | b'\r' | b'\t');
        let is_empty = numbers.trim().is_empty();
        return numbers
            .bytes()
            .all(is_number)
            .then(|| if is_empty { 0 } else { memchr::memchr_iter(b',', numbers.as_bytes()).count() + 1 });
    }
    let base64 = vector.strip_prefix('"')?.strip_suffix('"')?;
    let padding = base64.len() - base64.trim_end_matches('=').len();
    let bytes = (base64.len() / 4 * 3).checked_sub(padding)?;
    (base64.len() % 4 == 0 && bytes % 4 == 0).then_some(bytes / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_its_own_space_and_only_some_models_have_several() {
        let vectors = |dimensions, min_dimensions| Vectors {
            family: "gemini-embedding-001".into(),
            dimensions,
            min_dimensions,
            max_inputs: 100,
            max_batch_tokens: None,
        };
        let length = |vectors: &Vectors, requested| vectors.space(requested).map(|space| space.dimensions);
        let cut = vectors(Some(3_072), Some(128));
        assert_eq!(length(&cut, None), Some(Some(3_072)));
        assert_eq!(length(&cut, Some(3_072)), Some(Some(3_072)));
        assert_eq!(length(&cut, Some(128)), Some(Some(128)));
        assert_eq!((length(&cut, Some(127)), length(&cut, Some(3_073))), (None, None));
        let fixed = vectors(Some(1_024), None);
        assert_eq!((length(&fixed, Some(1_024)), length(&fixed, Some(512))), (Some(Some(1_024)), None));
        let unknown = vectors(None, None);
        assert_eq!((length(&unknown, None), length(&unknown, Some(7))), (Some(None), Some(Some(7))));
        assert_ne!(cut.space(None), cut.space(Some(768)));
    }
}
