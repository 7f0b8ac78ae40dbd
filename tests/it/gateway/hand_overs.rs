//! Loops of tools that another provider and another replica take over in the middle.

use crate::support::app::TestApp;

/// Half of a loop: a model, and the replica through which it is called.
type Side<'a> = (&'static str, &'a TestApp);

/// Who calls a tool, who answers once its result is there, and whether both stream. Gemini wants back what it signed.
pub(super) fn hand_overs<'a>(one: &'a TestApp, two: &'a TestApp) -> [(Side<'a>, Side<'a>, bool); 5] {
    let (gemini, groq) = ("gemini/gemini-3.5-flash-lite", "groq/openai/gpt-oss-20b");
    [
        ((gemini, one), (groq, two), false),
        ((groq, two), (gemini, one), false),
        ((gemini, two), (gemini, one), false),
        ((gemini, one), (groq, two), true),
        ((groq, one), (gemini, two), true),
    ]
}
