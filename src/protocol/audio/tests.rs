//! Containers made by hand, cut anywhere, and damaged anywhere.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

fn of(bytes: Vec<u8>) -> f64 {
    seconds(Cursor::new(bytes)).unwrap()
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 0.15
}

fn wav(seconds: u32, declared: Option<u32>) -> Vec<u8> {
    let bytes = 8_000 * 2 * seconds;
    let mut file = b"RIFF\0\0\0\0WAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(8_000_u32.to_le_bytes());
    file.extend(16_000_u32.to_le_bytes());
    file.extend([2, 0, 16, 0]);
    file.extend(b"data");
    file.extend(declared.unwrap_or(bytes).to_le_bytes());
    file.resize(file.len() + bytes as usize, 0);
    file
}

fn flac(rate: u64, samples: u64, bytes: usize) -> Vec<u8> {
    let mut file = b"fLaC\0\0\0\x22\x10\0\x10\0\0\0\0\0\0\0".to_vec();
    file.extend((rate << 44 | 1 << 41 | 15 << 36 | samples).to_be_bytes());
    file.resize(bytes, 0);
    file
}

fn page(flags: u8, granule: i64, serial: u32, body: &[u8]) -> Vec<u8> {
    let mut page = b"OggS\0".to_vec();
    page.push(flags);
    page.extend(granule.to_le_bytes());
    page.extend(serial.to_le_bytes());
    page.extend([0; 8]);
    page.push(1);
    page.push(u8::try_from(body.len()).unwrap());
    page.extend(body);
    page
}

fn opus(seconds: i64, serial: u32) -> Vec<u8> {
    let mut file = page(2, 0, serial, b"OpusHead\x01\x01\x38\x01\x80\xBB\0\0\0\0\0");
    for second in 1..=seconds {
        file.extend(page(0, second * 48_000 + 312, serial, &[7; 200]));
    }
    file
}

/// Frames of 128 kbit/s at 44.1 kHz, and of half of that at 22.05 kHz.
fn mp3(first: usize, second: usize) -> Vec<u8> {
    let mut file = b"ID3\x04\0\0\0\0\0\x0A1234567890".to_vec();
    for (head, bytes, count) in [([0xFF, 0xFB, 0x90, 0x00], 417, first), ([0xFF, 0xF3, 0x80, 0x00], 208, second)] {
        for _ in 0..count {
            file.extend(head);
            file.resize(file.len() + bytes - 4, 0);
        }
    }
    file
}

fn mp4_box(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    bytes.extend(kind.bytes());
    bytes.extend(body);
    bytes
}

fn header(scale: u32, length: u32) -> Vec<u8> {
    let mut body = vec![0; 12];
    body.extend(scale.to_be_bytes());
    body.extend(length.to_be_bytes());
    body.resize(100, 0);
    body
}

/// The description behind the sound, as recorders write it.
fn m4a(movie: u32, track: u32, sound: usize) -> Vec<u8> {
    let media = mp4_box("mdia", &mp4_box("mdhd", &header(44_100, track * 44_100)));
    let described = [mp4_box("mvhd", &header(1_000, movie * 1_000)), mp4_box("trak", &media)].concat();
    [mp4_box("ftyp", b"M4A \0\0\0\0"), mp4_box("mdat", &vec![0; sound]), mp4_box("moov", &described)].concat()
}

/// As a browser records: no length, no sizes.
fn live_webm(seconds: u64) -> Vec<u8> {
    let mut file =
        vec![0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    for second in 0..=seconds {
        file.extend([0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xE7, 0x84]);
        file.extend(u32::try_from(second * 1_000).unwrap().to_be_bytes());
        file.extend([0xA3, 0x86, 0x81, 0, 0, 0x80, 1, 2]);
    }
    file
}

fn webm(seconds: f64) -> Vec<u8> {
    let mut file = vec![
        0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67, 0xA0, 0x15, 0x49, 0xA9, 0x66, 0x8B, 0x44, 0x89, 0x88,
    ];
    file.extend((seconds * 1_000.0).to_be_bytes());
    file
}

#[test]
fn each_container_says_how_long_it_is() {
    assert!(close(of(wav(7, None)), 7.0));
    assert!(close(of(wav(7, Some(u32::MAX))), 7.0), "a recorder that could not go back");
    assert!(close(of(flac(44_100, 44_100 * 90, 4_000)), 90.0));
    assert!(close(of(opus(33, 9)), 33.0));
    assert!(close(of([opus(10, 1), opus(20, 2)].concat()), 30.0), "streams behind each other");
    assert!(close(of(mp3(100, 0)), 2.612));
    assert!(close(of(mp3(100, 100)), 2.612 * 2.0), "the bitrate changes");
    assert!(close(of(m4a(61, 61, 1_000)), 61.0));
    assert!(close(of(m4a(0, 61, 1_000)), 61.0), "only the track says so");
    assert!(close(of(webm(12.5)), 12.5));
    assert!(close(of(live_webm(42)), 42.0));
}

#[test]
fn without_a_length_the_size_decides_and_no_container_can_understate_it() {
    assert!(close(of(vec![b'x'; 40_000]), 10.0));
    assert!(close(of(flac(44_100, 0, 40_000)), 10.0));
    assert!(close(of(m4a(1, 1, 1_250_000)), 10.0));
    assert!(close(of(Vec::new()), 0.0));
}

fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let files =
        [wav(2, None), flac(8_000, 16_000, 900), opus(5, 3), mp3(20, 20), m4a(3, 3, 500), live_webm(5), webm(4.0)];
    prop::sample::select(files.to_vec())
}

proptest! {
    /// Any bytes have a length that is a number, and reading them ends.
    #[test]
    fn any_bytes_have_a_length(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let seconds = of(bytes.clone());
        prop_assert!(seconds.is_finite() && seconds >= 0.0);
    }

    /// So have damaged and cut files; a compressed one is never shorter than its bytes allow.
    #[test]
    fn damaged_files_have_a_length(
        mut file in any_file(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        file.truncate(cut.index(file.len()) + 1);
        let (seconds, bytes) = (of(file.clone()), file.len() as f64);
        prop_assert!(seconds.is_finite() && seconds >= 0.0);
        prop_assert!(file.starts_with(b"RIFF") || seconds >= bytes / 125_000.0 - 1e-9, "{seconds}");
    }

    /// A WAV of any length is as long as it is.
    #[test]
    fn a_wav_is_exact(seconds in 1..60_u32) {
        prop_assert!((of(wav(seconds, None)) - f64::from(seconds)).abs() < 1e-6);
    }
}
