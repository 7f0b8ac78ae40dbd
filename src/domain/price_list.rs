//! What requests would have cost at a provider that is paid, by the operator's own price list.

use super::model_pattern;

/// Prices of models, in the order of the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PriceList {
    /// As the operator names it: `USD`.
    pub currency: String,
    pub prices: Vec<Price>,
}

/// The price of every model whose `provider/model` matches a pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Price {
    pub pattern: String,
    /// Per million tokens of prompts.
    pub input: f64,
    /// Per million tokens of answers.
    pub output: f64,
}

const TOKENS: f64 = 1e6;

impl PriceList {
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }

    /// The cost of these tokens by the first price that matches; 0 where none does.
    pub fn cost(&self, model: &str, tokens_in: i64, tokens_out: i64) -> f64 {
        let price = self.prices.iter().find(|price| model_pattern::matches(&price.pattern, model));
        price.map_or(0.0, |price| (price.input * tokens_in as f64 + price.output * tokens_out as f64) / TOKENS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_price_that_matches_counts() {
        let price = |pattern: &str, input, output| Price { pattern: pattern.to_owned(), input, output };
        let list = PriceList {
            currency: "EUR".to_owned(),
            prices: vec![price("*/gpt-oss-*", 1.0, 4.0), price("groq/*", 10.0, 10.0)],
        };
        let cost = |model| list.cost(model, 2_000_000, 500_000);
        assert!((cost("groq/openai/gpt-oss-20b") - 4.0).abs() < 1e-9);
        assert!((cost("groq/qwen/qwen3.8-27b") - 25.0).abs() < 1e-9);
        assert!(cost("mistral/codestral-2508").abs() < 1e-9);
    }
}
