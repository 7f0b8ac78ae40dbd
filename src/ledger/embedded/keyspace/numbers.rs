//! Parses and formats numbers as Redis does, so that a script sees the same digits on both engines.

use std::io::Write;

use super::CommandError;

/// Parses an integer as Redis does: without a plus sign, leading zeros or spaces.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0'] if digits.len() == text.len() => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses an integer argument.
pub(crate) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::NOT_AN_INTEGER)
}

/// Parses a number as `strtod` does, except for hexadecimal numbers and NaN.
pub(crate) fn parse_float(text: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// Parses a score argument. Unlike a range bound, its digits must not overflow to infinity or underflow to zero.
pub(crate) fn float(text: &[u8]) -> Result<f64, CommandError> {
    let number = parse_float(text).ok_or(CommandError::NOT_A_FLOAT)?;
    let mantissa = text.split(|c| c.eq_ignore_ascii_case(&b'e')).next().unwrap_or_default();
    let overflows = number.is_infinite() && text.iter().any(u8::is_ascii_digit);
    let underflows = number == 0.0 && mantissa.iter().any(|digit| (b'1'..=b'9').contains(digit));
    if overflows || underflows { Err(CommandError::NOT_A_FLOAT) } else { Ok(number) }
}

/// Appends an integer.
pub(crate) fn write_integer(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a number as C's `%.17g` prints it.
#[expect(clippy::cast_possible_truncation, reason = "whole and below 1e17")]
pub(crate) fn write_float(out: &mut Vec<u8>, number: f64) {
    if !number.is_finite() {
        let sign: &[u8] = if number.is_sign_negative() { b"-" } else { b"" };
        out.extend_from_slice(sign);
        out.extend_from_slice(if number.is_nan() { b"nan" } else { b"inf" });
        return;
    }
    if number.fract() == 0.0 && number.abs() < 1e17 && (number != 0.0 || number.is_sign_positive()) {
        return write_integer(out, number as i64);
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    // 17 significant digits, correctly rounded: `d.dddddddddddddddde±x`.
    let mut text = Vec::with_capacity(32);
    write!(text, "{:.16e}", number.abs()).expect("writing to a Vec cannot fail");
    let (mantissa, exponent) = text.split_at(18);
    let exponent = parse_integer(&exponent[1..]).unwrap_or(0);
    let mut digits = [0; 17];
    digits[0] = mantissa[0];
    digits[1..].copy_from_slice(&mantissa[2..]);
    let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
    let digits = &digits[..(17 - zeros).max(1)];
    match exponent {
        0..17 => {
            let whole = usize::try_from(exponent).unwrap_or(0) + 1;
            let (before, after) = digits.split_at(digits.len().min(whole));
            out.extend_from_slice(before);
            out.resize(out.len() + whole - before.len(), b'0');
            write_fraction(out, after);
        }
        -4..0 => {
            out.extend_from_slice(b"0.");
            out.resize(out.len() + usize::try_from(-exponent - 1).unwrap_or(0), b'0');
            out.extend_from_slice(digits);
        }
        _ => {
            out.push(digits[0]);
            write_fraction(out, &digits[1..]);
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            if exponent.abs() < 10 {
                out.push(b'0');
            }
            write_integer(out, exponent.abs());
        }
    }
}

fn write_fraction(out: &mut Vec<u8>, digits: &[u8]) {
    if !digits.is_empty() {
        out.push(b'.');
        out.extend_from_slice(digits);
    }
}

/// Converts a Lua number to an integer reply: rounded towards zero; numbers out of range become the minimum, as on x86.
#[expect(clippy::cast_possible_truncation, reason = "truncation is intended and the range is checked")]
pub(crate) fn truncate(number: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&number) { number as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_printed_with_seventeen_significant_digits() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.10000000000000001"),
            (-1.5, "-1.5"),
            (3.0, "3"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (123_456_789_012_345_680_000.0, "1.2345678901234568e+20"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.2500000000000001e-05"),
            (1e-300, "1e-300"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (12_345.678, "12345.678"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(written(number), text);
        }
    }

    #[test]
    fn signs_zeros_and_spaces_make_no_integer() {
        for (text, number) in [("0", Some(0)), ("-7", Some(-7)), ("9223372036854775807", Some(i64::MAX))] {
            assert_eq!(parse_integer(text.as_bytes()), number);
        }
        for text in ["", "-", "-0", "+1", "01", " 1", "1 ", "1.0", "9223372036854775808"] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_rounded_towards_zero() {
        assert_eq!([1.9, -1.9, 1e300, f64::NAN].map(truncate), [1, -1, i64::MIN, i64::MIN]);
    }
}
