//! Schemas, values and schema evolutions out of a seed: every type and logical type, nested to a depth.
//!
//! Unions hold types that plain JSON tells apart (what it cannot tell apart is read as the first that fits, on purpose).

use std::collections::HashMap;

use apache_avro::schema::{DecimalSchema, InnerDecimalSchema, Name, ResolvedSchema};
use apache_avro::types::Value as Avro;
use apache_avro::{BigDecimal, Decimal, Duration, Schema};
use serde_json::{Value as Json, json};

/// SplitMix64: small, good enough, and the whole test case is its seed.
pub(crate) struct Dice {
    state: u64,
    /// apache-avro's `resolve` refuses a decimal whose bytes could not hold every number of the precision, although the
    /// specification asks for as few as the number needs; against that oracle they are padded.
    pub(crate) pad_decimals: bool,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice { state: seed, pad_decimals: false }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn range(&mut self, low: i64, high: i64) -> i64 {
        let span = i128::from(high) - i128::from(low) + 1;
        // Small numbers and bounds are where encodings change, so they come often.
        match self.below(4) {
            0 => low,
            1 => high,
            2 if low <= 0 && high >= 64 => self.below(65) as i64,
            _ => (i128::from(low) + i128::from(self.next()) % span) as i64,
        }
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

pub(crate) struct Schemas {
    pub(crate) dice: Dice,
    named: u32,
}

/// How many kinds of scalar `scalar` knows.
const SCALARS: u64 = 23;

impl Schemas {
    pub(crate) fn new(seed: u64) -> Schemas {
        Schemas { dice: Dice::new(seed), named: 0 }
    }

    fn name(&mut self) -> String {
        self.named += 1;
        format!("N{}", self.named)
    }

    /// An entity with every scalar once and some nested fields.
    pub(crate) fn everything(&mut self) -> Json {
        let mut fields: Vec<Json> = (0..SCALARS).map(|kind| self.scalar(kind)).map(|of| json!({"type": of})).collect();
        for kind in 0..SCALARS {
            let of = self.scalar(kind);
            let branches = if self.dice.below(2) == 0 { json!(["null", of]) } else { json!([of, "null"]) };
            fields.push(json!({"type": branches}));
        }
        fields.extend((0..6).map(|_| json!({"type": self.nested(3)})));
        Schemas::record(fields)
    }

    /// An entity with a few fields of any type.
    pub(crate) fn some(&mut self) -> Json {
        let count = 1 + self.dice.below(8);
        let fields = (0..count).map(|_| json!({"type": self.any(3)})).collect();
        Schemas::record(fields)
    }

    fn record(mut fields: Vec<Json>) -> Json {
        for (at, field) in fields.iter_mut().enumerate() {
            field["name"] = json!(format!("f{at}"));
        }
        json!({"type": "record", "name": "Thing", "namespace": "of.tests", "fields": fields})
    }

    fn scalar(&mut self, kind: u64) -> Json {
        let logical = |base: &str, logical: &str| json!({"type": base, "logicalType": logical});
        match kind {
            0 => json!("boolean"),
            1 => json!("int"),
            2 => json!("long"),
            3 => json!("float"),
            4 => json!("double"),
            5 => json!("string"),
            6 => json!("bytes"),
            7 => json!({"type": "fixed", "name": self.name(), "size": 1 + self.dice.below(20)}),
            8 => json!({"type": "enum", "name": self.name(), "symbols": ["A", "B", "C"]}),
            9 => logical("string", "uuid"),
            10 => json!({"type": "fixed", "name": self.name(), "size": 16, "logicalType": "uuid"}),
            11 => {
                let precision = 1 + self.dice.below(65);
                json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": self.dice.below(precision.min(30) + 1)})
            }
            12 => {
                json!({"type": "fixed", "name": self.name(), "size": 28, "logicalType": "decimal", "precision": 64, "scale": 7})
            }
            13 => logical("bytes", "big-decimal"),
            14 => logical("int", "date"),
            15 => logical("int", "time-millis"),
            16 => logical("long", "time-micros"),
            17 => logical("long", "timestamp-millis"),
            18 => logical("long", "timestamp-micros"),
            19 => logical("long", "timestamp-nanos"),
            20 => logical("long", "local-timestamp-millis"),
            21 => logical("long", "local-timestamp-micros"),
            _ => logical("long", "local-timestamp-nanos"),
        }
    }

    fn any(&mut self, depth: u32) -> Json {
        match self.dice.below(4) {
            0 if depth > 0 => self.nested(depth),
            1 => {
                let kind = self.dice.below(SCALARS);
                json!(["null", self.scalar(kind)])
            }
            _ => {
                let kind = self.dice.below(SCALARS);
                self.scalar(kind)
            }
        }
    }

    fn nested(&mut self, depth: u32) -> Json {
        match self.dice.below(6) {
            0 => json!({"type": "array", "items": self.any(depth - 1)}),
            1 => json!({"type": "map", "values": self.any(depth - 1)}),
            2 => json!({"type": "fixed", "name": self.name(), "size": 12, "logicalType": "duration"}),
            3 => self.union(depth - 1),
            _ => {
                let name = self.name();
                let count = 1 + self.dice.below(4);
                let fields: Vec<Json> =
                    (0..count).map(|at| json!({"name": format!("m{at}"), "type": self.any(depth - 1)})).collect();
                json!({"type": "record", "name": name, "fields": fields})
            }
        }
    }

    fn union(&mut self, depth: u32) -> Json {
        let number = self.dice.pick(&["int", "long", "double"]);
        let mut branches = vec![json!(number), json!("string"), json!("boolean")];
        if self.dice.below(2) == 0 {
            branches.push(json!("null"));
        }
        if self.dice.below(2) == 0 {
            branches.push(json!({"type": "array", "items": self.any(depth)}));
        }
        let first = self.dice.below(branches.len() as u64) as usize;
        branches.rotate_left(first);
        json!(branches)
    }

    /// The next version: what the gate allows, at random.
    pub(crate) fn evolve(&mut self, schema: &Json) -> Json {
        self.evolve_record(schema, true)
    }

    fn evolve_record(&mut self, schema: &Json, flat: bool) -> Json {
        let mut next = schema.clone();
        let fields = next["fields"].as_array_mut().unwrap();
        if fields.len() > 1 && self.dice.below(3) == 0 {
            fields.remove(self.dice.below(fields.len() as u64) as usize);
        }
        // The items of a default are of their union's first type, too: such a field stays as it is.
        for field in fields.iter_mut().filter(|field| !field["default"].is_array()) {
            field["type"] = self.evolve_type(&field["type"].clone(), flat);
            // A default is of the union's first type.
            if field["type"][0] == json!("null") && field.get("default").is_some_and(|default| !default.is_null()) {
                field["type"].as_array_mut().unwrap().rotate_left(1);
            }
        }
        for at in 0..self.dice.below(3) {
            let (of, default) = self.dice.pick(&[
                (json!(["null", "string"]), Json::Null),
                (json!("long"), json!(7)),
                (json!("string"), json!("ä\"")),
                (json!({"type": "array", "items": "int"}), json!([1, 2])),
                (json!({"type": "int", "logicalType": "date"}), json!(19_000)),
                (json!("boolean"), json!(true)),
            ]);
            let at_random = self.dice.below(fields.len() as u64 + 1) as usize;
            let name = format!("{}_{at}", self.name());
            fields.insert(at_random, json!({"name": name, "type": of, "default": default}));
        }
        next
    }

    /// `flat`: it is a column of its own.
    fn evolve_type(&mut self, of: &Json, flat: bool) -> Json {
        let mut next = of.clone();
        match of {
            // A float keeps its text inside of JSON.
            Json::String(name) if (flat || name != "float") && self.dice.below(2) == 0 => {
                next = json!(self.wider(name))
            }
            Json::Array(branches) => next = branches.iter().map(|branch| self.evolve_branch(branch)).collect(),
            Json::Object(_) => match of["type"].as_str().unwrap() {
                "enum" => {
                    let symbol = self.name();
                    next["symbols"].as_array_mut().unwrap().insert(0, json!(symbol));
                }
                "array" => next["items"] = self.evolve_type(&of["items"], false),
                "map" => next["values"] = self.evolve_type(&of["values"], false),
                "record" => next = self.evolve_record(of, false),
                _ => {}
            },
            _ => {}
        }
        let plain = !next.is_array() && next["logicalType"] != json!("duration");
        if plain && self.dice.below(5) == 0 { json!(["null", next]) } else { next }
    }

    /// Inside of a union a wider type might be another branch's.
    fn evolve_branch(&mut self, branch: &Json) -> Json {
        if branch.is_object() && branch["type"] == json!("record") {
            self.evolve_record(branch, false)
        } else {
            branch.clone()
        }
    }

    fn wider(&mut self, name: &str) -> String {
        match name {
            "int" => self.dice.pick(&["long", "float", "double"]).to_owned(),
            "long" => self.dice.pick(&["float", "double"]).to_owned(),
            "float" => "double".to_owned(),
            other => other.to_owned(),
        }
    }
}

/// A value of a schema as apache-avro has it.
pub(crate) fn value(schema: &Schema, dice: &mut Dice) -> Avro {
    let resolved = ResolvedSchema::try_from(schema).unwrap();
    of(schema, resolved.get_names(), dice)
}

fn of(schema: &Schema, names: &HashMap<Name, &Schema>, dice: &mut Dice) -> Avro {
    const DAY: i64 = 86_400;
    let (first, last) = (-354_285 * DAY, 2_932_897 * DAY);
    match schema {
        Schema::Null => Avro::Null,
        Schema::Boolean => Avro::Boolean(dice.below(2) == 0),
        Schema::Int => Avro::Int(dice.range(i32::MIN.into(), i32::MAX.into()) as i32),
        Schema::Long => Avro::Long(dice.range(i64::MIN, i64::MAX)),
        Schema::Float => Avro::Float(single(dice)),
        Schema::Double => Avro::Double(double(dice)),
        Schema::String => Avro::String(text(dice)),
        Schema::Bytes => Avro::Bytes(bytes(dice.below(40), dice)),
        Schema::Fixed(fixed) => Avro::Fixed(fixed.size, bytes(fixed.size as u64, dice)),
        Schema::Enum(symbols) => {
            let index = dice.below(symbols.symbols.len() as u64) as u32;
            Avro::Enum(index, symbols.symbols[index as usize].clone())
        }
        Schema::Uuid(_) => Avro::Uuid(uuid::Uuid::from_u64_pair(dice.next(), dice.next())),
        Schema::Decimal(decimal) => Avro::Decimal(self::decimal(decimal, dice)),
        Schema::BigDecimal => Avro::BigDecimal(big_decimal(dice)),
        Schema::Date => Avro::Date(dice.range(-354_285, 2_932_896) as i32),
        Schema::TimeMillis => Avro::TimeMillis(dice.range(0, DAY * 1000 - 1) as i32),
        Schema::TimeMicros => Avro::TimeMicros(dice.range(0, DAY * 1_000_000 - 1)),
        Schema::TimestampMillis => Avro::TimestampMillis(dice.range(first * 1000, last * 1000 - 1)),
        Schema::TimestampMicros => Avro::TimestampMicros(dice.range(first * 1_000_000, last * 1_000_000 - 1)),
        Schema::TimestampNanos => Avro::TimestampNanos(dice.range(i64::MIN, i64::MAX)),
        Schema::LocalTimestampMillis => Avro::LocalTimestampMillis(dice.range(first * 1000, last * 1000 - 1)),
        Schema::LocalTimestampMicros => Avro::LocalTimestampMicros(dice.range(first * 1_000_000, last * 1_000_000 - 1)),
        Schema::LocalTimestampNanos => Avro::LocalTimestampNanos(dice.range(i64::MIN, i64::MAX)),
        Schema::Duration(_) => {
            let raw: [u8; 12] = bytes(12, dice).try_into().unwrap();
            Avro::Duration(Duration::from(raw))
        }
        Schema::Array(array) => Avro::Array((0..dice.below(4)).map(|_| of(&array.items, names, dice)).collect()),
        Schema::Map(map) => Avro::Map((0..dice.below(4)).map(|_| (text(dice), of(&map.types, names, dice))).collect()),
        Schema::Union(union) => {
            let index = dice.below(union.variants().len() as u64) as usize;
            Avro::Union(index as u32, Box::new(of(&union.variants()[index], names, dice)))
        }
        Schema::Record(record) => Avro::Record(
            record.fields.iter().map(|field| (field.name.clone(), of(&field.schema, names, dice))).collect(),
        ),
        Schema::Ref { name } => of(names[name], names, dice),
    }
}

fn single(dice: &mut Dice) -> f32 {
    let number = f32::from_bits(dice.next() as u32);
    if number.is_finite() { number } else { 0.1 }
}

fn double(dice: &mut Dice) -> f64 {
    let number = f64::from_bits(dice.next());
    if number.is_finite() { number } else { 0.1 }
}

fn bytes(length: u64, dice: &mut Dice) -> Vec<u8> {
    (0..length).map(|_| dice.next() as u8).collect()
}

fn text(dice: &mut Dice) -> String {
    let pool = ['a', 'Z', '0', ' ', '"', '\\', '/', '\n', '\u{1}', '\u{7f}', 'ä', '€', '𝄞', '~', '{', ','];
    (0..dice.below(12)).map(|_| dice.pick(&pool)).collect()
}

fn digits(count: u64, dice: &mut Dice) -> String {
    let sign = if dice.below(2) == 0 { "-" } else { "" };
    let digits: String = (0..count.max(1)).map(|_| char::from(b'0' + dice.below(10) as u8)).collect();
    format!("{sign}{digits}")
}

fn decimal(schema: &DecimalSchema, dice: &mut Dice) -> Decimal {
    let count = 1 + dice.below(schema.precision as u64);
    let number: num_bigint::BigInt = digits(count, dice).parse().unwrap();
    let mut raw = number.to_signed_bytes_be();
    let size = match &schema.inner {
        InnerDecimalSchema::Fixed(fixed) => fixed.size,
        InnerDecimalSchema::Bytes if dice.pad_decimals => 28,
        InnerDecimalSchema::Bytes => raw.len(),
    };
    let fill = if number.sign() == num_bigint::Sign::Minus { 0xFF } else { 0 };
    raw.splice(0..0, std::iter::repeat_n(fill, size - raw.len()));
    Decimal::from(raw)
}

fn big_decimal(dice: &mut Dice) -> BigDecimal {
    let count = 1 + dice.below(80);
    let number: num_bigint::BigInt = digits(count, dice).parse().unwrap();
    BigDecimal::new(number, dice.below(100) as i64 - 20)
}
