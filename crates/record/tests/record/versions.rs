//! The version rules of PROTOCOL R1, R4 and R18, and ids.

use proptest::prelude::*;
use record::{EntityName, IdFault, RecordId, Slot, Version, VersionFault, issue, issue_away};

/// Microseconds of an honest clock.
fn clock() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_000_000_000_000_000_u64, 0..64_u64]
}

fn any_version() -> impl Strategy<Value = Version> {
    clock().prop_map(|number| Version::new(number).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_issued_version_is_above_all_that_was_and_redis_own(now in clock(), last in any_version(), seen in any_version(), mine in clock()) {
        let version = issue(now, last, seen, mine);
        prop_assert!(version > last && version > seen);
        prop_assert!(version.get() >= now && version.get() >= mine);
        prop_assert_eq!(version.slot(), 0);
        prop_assert!(version.get() - now.max(mine).max(last.get() + 1).max(seen.get() + 1) < 16, "rounds up by less than 16");
        prop_assert!(issue(now, version, seen, mine) > version, "the next one is above it");
    }

    #[test]
    fn an_away_version_is_above_what_was_seen_and_its_slots_own(ahead in clock(), seen in any_version(), slot in 1..=14_u8) {
        let version = issue_away(ahead, seen, Slot::new(slot).unwrap());
        prop_assert!(version > seen);
        prop_assert_eq!(version.slot(), slot);
        prop_assert!(version.get() >= (ahead & !15));
        prop_assert!(version.get() < ahead.max(seen.get() + 1) + 32);
        for other in (1..=14).filter(|other| *other != slot) {
            prop_assert_ne!(version, issue_away(ahead, seen, Slot::new(other).unwrap()));
        }
    }

    #[test]
    fn a_mark_is_below_its_version_and_no_write_has_it(version in any_version()) {
        match version.mark_below() {
            Some(mark) => prop_assert!(mark < version && mark.is_mark() && version.get() - mark.get() <= 16),
            None => prop_assert!(version.get() < 16),
        }
    }

    #[test]
    fn a_version_reads_back_from_its_text(version in any_version()) {
        prop_assert_eq!(version.to_string().parse::<Version>(), Ok(version));
    }
}

#[test]
fn versions_end_below_two_to_the_53() {
    assert_eq!("9007199254740991".parse::<Version>(), Ok(Version::MAX));
    assert_eq!("9007199254740992".parse::<Version>(), Err(VersionFault::TooLarge));
    assert_eq!("99999999999999999999999".parse::<Version>(), Err(VersionFault::TooLarge));
    for text in ["", "-1", "+1", " 1", "1.0", "0x1", "١"] {
        assert_eq!(text.parse::<Version>(), Err(VersionFault::NotDecimal), "{text:?}");
    }
    assert_eq!(issue(u64::MAX, Version::ZERO, Version::ZERO, 0).get(), Version::MAX.get() - 15);
    assert!(issue_away(u64::MAX, Version::ZERO, Slot::new(1).unwrap()) < Version::MAX);
    assert_eq!([0, 15, 255].map(|slot| Slot::new(slot).is_err()), [true; 3]);
}

#[test]
fn the_birth_of_a_version_is_its_time() {
    let version = Version::new(1_700_000_000_000_007).unwrap();
    assert_eq!((version.birth_micros(), version.slot()), (1_700_000_000_000_000, 7));
}

#[test]
fn ids_are_what_paths_keys_and_columns_carry_unchanged() {
    let longest = "x".repeat(128);
    for good in ["a", "0", "A.b_c~d-9", "...", ".a", longest.as_str()] {
        assert_eq!(RecordId::parse(good).unwrap().as_str(), good);
    }
    let too_long = "x".repeat(129);
    let bad = [
        ("", IdFault::Empty),
        (too_long.as_str(), IdFault::TooLong),
        (".", IdFault::Dots),
        ("..", IdFault::Dots),
        ("a b", IdFault::Character),
        ("a/b", IdFault::Character),
        ("ä", IdFault::Character),
        ("a\0", IdFault::Character),
        ("a%20", IdFault::Character),
    ];
    for (text, fault) in bad {
        assert_eq!(RecordId::parse(text), Err(fault), "{text:?}");
    }
}

#[test]
fn entity_names_serve_as_path_topic_and_table() {
    let longest = "a".repeat(48);
    for good in ["users", "a", "a_1", longest.as_str()] {
        assert!(EntityName::parse(good).is_ok(), "{good}");
    }
    let too_long = "a".repeat(49);
    for bad in [
        "",
        "1a",
        "_a",
        "Users",
        "a-b",
        "a.b",
        "ä",
        too_long.as_str(),
        "docs",
        "metrics",
        "openapi",
        "openapi.json",
        "write-behind",
        "write_behind",
        "write_behind_marks",
        "dead_letters",
        "users_live",
    ] {
        assert!(EntityName::parse(bad).is_err(), "{bad}");
    }
}
