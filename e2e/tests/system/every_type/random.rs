//! Random orders: a value of every type, as JSON, as a stranger reads it in the topic, and as SQL says it.

use apache_avro::types::Value as Avro;
use apache_avro::{BigDecimal, Days, Decimal, Duration, Millis, Months};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// One value in its three forms.
pub(super) struct Triple {
    pub(super) name: &'static str,
    pub(super) json: Value,
    pub(super) avro: Avro,
    pub(super) sql: Sql,
}

/// What SQL says of a value.
pub(super) enum Sql {
    /// The column as text.
    Text(String),
    /// The column as a double.
    Number(f64),
    /// Its bytes.
    Bytes(Vec<u8>),
    /// JSON, however it is spaced.
    Json,
    /// NULL.
    Nothing,
}

pub(super) struct Dice(SmallRng);

const DAY: i64 = 86_400;
/// 1000-01-01 and 9999-12-31, in days since 1970.
const DAYS: (i64, i64) = (-354_285, 2_932_896);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Bounds and small numbers come often.
    fn integer(&mut self, low: i64, high: i64) -> i64 {
        match self.0.random_range(0..5) {
            0 => low,
            1 => high,
            2 => self.0.random_range(-2_i64..3).clamp(low, high),
            _ => self.0.random_range(low..=high),
        }
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.random_range(0..of.len())]
    }

    fn text(&mut self, most: usize) -> String {
        let odd = ['"', '\\', '\'', '%', '\n', '\u{1}', '\u{7f}', '\u{1d11e}', '\u{301}', ' ', '~', '\u{df}'];
        let length = self.0.random_range(0..=most);
        let one = |dice: &mut Self| {
            if dice.0.random() {
                dice.pick(&odd)
            } else {
                char::from_u32(dice.0.random_range(1..0xd800)).unwrap_or('x')
            }
        };
        (0..length).map(|_| one(self)).collect()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.0.random()).collect()
    }

    /// A number of so many digits, or one of fewer.
    fn digits(&mut self, most: u32) -> i128 {
        let bound = 10_i128.pow(self.0.random_range(1..=most));
        if self.0.random_ratio(1, 5) {
            self.pick(&[0, bound - 1, 1 - bound])
        } else {
            self.0.random_range(1 - bound..bound)
        }
    }

    fn double(&mut self) -> f64 {
        let odd = [0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 0.1, 1e23, 1.0 / 3.0];
        let any = f64::from_bits(self.0.random());
        if any.is_normal() && self.0.random_ratio(4, 5) { any } else { self.pick(&odd) }
    }

    fn single(&mut self) -> f32 {
        let odd = [0.0, -0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 0.1, 16_777_217.0, 1.0 / 3.0];
        let any = f32::from_bits(self.0.random());
        if any.is_normal() && self.0.random_ratio(4, 5) { any } else { self.pick(&odd) }
    }
}

/// Every field of an order, in the schema's order.
pub(super) fn order(dice: &mut Dice) -> Vec<Triple> {
    let mut order = plain(dice);
    order.extend(nested(dice));
    order.extend(exact(dice));
    order.extend(times(dice));
    order
}

fn triple(name: &'static str, json: Value, avro: Avro, sql: Sql) -> Triple {
    Triple { name, json, avro, sql }
}

fn whole(name: &'static str, number: i64, avro: Avro) -> Triple {
    triple(name, json!(number), avro, Sql::Text(number.to_string()))
}

fn plain(dice: &mut Dice) -> Vec<Triple> {
    let (paid, pieces, cents) = (dice.0.random(), dice.integer(1, i32::MAX.into()), dice.integer(i64::MIN, i64::MAX));
    let (weight, volume, note) = (dice.single(), dice.double(), dice.text(40));
    let length = dice.0.random_range(0..300);
    let (label, checksum) = (dice.bytes(length), dice.bytes(4));
    let (index, maybe) = (dice.0.random_range(0..3_usize), dice.0.random::<bool>().then(|| dice.text(400)));
    let state = ["OPEN", "SENT", "DONE"][index];
    vec![
        triple("nothing", Value::Null, Avro::Null, Sql::Nothing),
        triple("paid", json!(paid), Avro::Boolean(paid), Sql::Text(u8::from(paid).to_string())),
        whole("pieces", pieces, Avro::Int(i32::try_from(pieces).unwrap_or_default())),
        whole("cents", cents, Avro::Long(cents)),
        triple("weight", json!(f64::from(weight)), Avro::Float(weight), Sql::Number(f64::from(weight))),
        triple("volume", json!(volume), Avro::Double(volume), Sql::Number(volume)),
        triple("note", json!(note), Avro::String(note.clone()), Sql::Text(note)),
        triple("label", json!(base64(&label)), Avro::Bytes(label.clone()), Sql::Bytes(label)),
        triple("checksum", json!(base64(&checksum)), Avro::Fixed(4, checksum.clone()), Sql::Bytes(checksum)),
        triple("state", json!(state), Avro::Enum(index as u32, state.to_owned()), Sql::Text(state.to_owned())),
        match maybe {
            None => triple("maybe", Value::Null, Avro::Union(0, Box::new(Avro::Null)), Sql::Nothing),
            Some(text) => {
                let avro = Avro::Union(1, Box::new(Avro::String(text.clone())));
                triple("maybe", json!(text), avro, Sql::Text(text))
            }
        },
    ]
}

fn nested(dice: &mut Dice) -> Vec<Triple> {
    let tags: Vec<_> = (0..dice.0.random_range(0..4)).map(|_| dice.text(9)).collect();
    let stock: Vec<_> =
        (0..dice.0.random_range(0..4)).map(|_| (dice.text(9), dice.integer(i64::MIN, i64::MAX))).collect();
    let stock: std::collections::HashMap<_, _> = stock.into_iter().collect();
    let avro_stock = stock.iter().map(|(name, number)| (name.clone(), Avro::Long(*number))).collect();
    let (json, index, avro) = match dice.0.random_range(0..4_u32) {
        0 => (Value::Null, 0, Avro::Null),
        1 => {
            let number = dice.integer(i64::MIN, i64::MAX);
            (json!(number), 1, Avro::Long(number))
        }
        2 => {
            let text = dice.text(9);
            (json!(text), 2, Avro::String(text))
        }
        _ => (json!([true, false]), 3, Avro::Array(vec![Avro::Boolean(true), Avro::Boolean(false)])),
    };
    // A union that is null is no JSON null but no value.
    let sql = if json.is_null() { Sql::Nothing } else { Sql::Json };
    let (city, floor, since) =
        (dice.text(9), dice.integer(i32::MIN.into(), i32::MAX.into()), dice.integer(DAYS.0, DAYS.1));
    let address = json!({ "city": city, "floor": floor, "since": date(since) });
    let address_avro = Avro::Record(vec![
        ("city".to_owned(), Avro::String(city)),
        ("floor".to_owned(), Avro::Union(1, Box::new(Avro::Int(i32::try_from(floor).unwrap_or_default())))),
        ("since".to_owned(), Avro::Date(i32::try_from(since).unwrap_or_default())),
    ]);
    let [months, days, millis]: [u32; 3] = [dice.0.random(), dice.0.random(), dice.0.random()];
    let every = Avro::Duration(Duration::new(Months::new(months), Days::new(days), Millis::new(millis)));
    vec![
        triple("tags", json!(tags), Avro::Array(tags.into_iter().map(Avro::String).collect()), Sql::Json),
        triple("stock", json!(stock), Avro::Map(avro_stock), Sql::Json),
        triple("either", json, Avro::Union(index, Box::new(avro)), sql),
        triple("address", address, address_avro, Sql::Json),
        triple("every", json!({ "months": months, "days": days, "millis": millis }), every, Sql::Json),
    ]
}

fn exact(dice: &mut Dice) -> Vec<Triple> {
    let (amount, tax) = (dice.digits(20), dice.digits(10));
    // Its last digit is no zero.
    let (exact, scale) = (dice.digits(30) / 10 * 10 + 5, dice.0.random_range(0..30));
    let text = |name, number, scale, bytes: Vec<u8>| {
        let text = point(number, scale);
        triple(name, json!(text), Avro::Decimal(Decimal::from(bytes)), Sql::Text(text))
    };
    let big = point(exact, scale);
    let number: BigDecimal = big.parse().unwrap_or_default();
    let [customer, basket] = [uuid(dice), uuid(dice)];
    let id = |text: &str| Avro::Uuid(text.parse().unwrap_or_default());
    vec![
        text("amount", amount, 4, shortest(amount)),
        text("tax", tax, 2, tax.to_be_bytes()[10..].to_vec()),
        triple("exact", json!(big), Avro::BigDecimal(number), Sql::Text(big)),
        triple("customer", json!(customer), id(&customer), Sql::Text(customer.clone())),
        triple("basket", json!(basket), id(&basket), Sql::Text(basket.clone())),
    ]
}

fn times(dice: &mut Dice) -> Vec<Triple> {
    let day = dice.integer(DAYS.0, DAYS.1);
    let (opens, closes) = (dice.integer(0, DAY * 1000 - 1), dice.integer(0, DAY * 1_000_000 - 1));
    let mut all = vec![
        triple("day", json!(date(day)), Avro::Date(i32::try_from(day).unwrap_or_default()), Sql::Text(date(day))),
        triple(
            "opens",
            json!(time(opens, 3)),
            Avro::TimeMillis(i32::try_from(opens).unwrap_or_default()),
            Sql::Text(time(opens, 3)),
        ),
        triple("closes", json!(time(closes, 6)), Avro::TimeMicros(closes), Sql::Text(time(closes, 6))),
    ];
    type Make = fn(i64) -> Avro;
    let stamps: [(&str, u32, &str, Make); 6] = [
        ("placed3", 3, "Z", Avro::TimestampMillis),
        ("placed6", 6, "Z", Avro::TimestampMicros),
        ("placed9", 9, "Z", Avro::TimestampNanos),
        ("local3", 3, "", Avro::LocalTimestampMillis),
        ("local6", 6, "", Avro::LocalTimestampMicros),
        ("local9", 9, "", Avro::LocalTimestampNanos),
    ];
    for (name, digits, zone, avro) in stamps {
        let unit = 10_i64.pow(digits);
        let (first, last) = match digits {
            9 => (i64::MIN, i64::MAX),
            _ => (DAYS.0 * DAY * unit, (DAYS.1 + 1) * DAY * unit - 1),
        };
        let stamp = dice.integer(first, last);
        let (day, rest) = (date(stamp.div_euclid(DAY * unit)), time(stamp.rem_euclid(DAY * unit), digits));
        let sql = if digits == 9 { stamp.to_string() } else { format!("{day} {rest}") };
        all.push(triple(name, json!(format!("{day}T{rest}{zone}")), avro(stamp), Sql::Text(sql)));
    }
    all
}

/// A day since 1970 in the proleptic calendar, by counting years and months.
fn date(days: i64) -> String {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut rest) = (1970 + days.div_euclid(146_097) * 400, days.rem_euclid(146_097));
    while rest >= 365 + i64::from(leap(year)) {
        rest -= 365 + i64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", rest + 1)
}

fn time(units: i64, digits: u32) -> String {
    let unit = 10_i64.pow(digits);
    let seconds = units / unit;
    let width = digits as usize;
    format!("{:02}:{:02}:{:02}.{:0width$}", seconds / 3600, seconds / 60 % 60, seconds % 60, units % unit)
}

/// `-12.5000` for -125000 and 4.
fn point(number: i128, scale: usize) -> String {
    let (sign, digits) =
        (if number < 0 { "-" } else { "" }, format!("{:0width$}", number.unsigned_abs(), width = scale + 1));
    let (whole, broken) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{broken}") }
}

/// Two's complement in as few bytes as it needs.
fn shortest(number: i128) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let fits = |from: &usize| {
        i128::from(bytes[*from] as i8) >> 7 == number >> 127 && number << (from * 8) >> (from * 8) == number
    };
    bytes[(0..16).rev().find(fits).unwrap_or(0)..].to_vec()
}

fn uuid(dice: &mut Dice) -> String {
    let hex = format!("{:032x}", dice.0.random::<u128>());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let bits = three.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        let digit = move |at: usize| char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]);
        let known = three.len() + 1;
        (0..4).map(move |at| if at < known { digit(at) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}
