//! A message of the topic as one input: which parts are null, then key and headers a line each, then the value.

/// What Kafka gives of a message; `None` is null, or a header that is not there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Message<'a> {
    /// The record's id.
    pub key: Option<&'a [u8]>,
    /// The header of this name.
    pub version: Option<&'a [u8]>,
    /// The header of this name.
    pub op: Option<&'a [u8]>,
    /// The header of this name.
    pub origin: Option<&'a [u8]>,
    /// The framed datum.
    pub value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Takes an input apart; `None`: too short.
    #[must_use]
    pub fn read(input: &'a [u8]) -> Option<Message<'a>> {
        let (nulls, rest) = input.split_first()?;
        let mut parts = rest.splitn(5, |byte| *byte == b'\n');
        let mut part = |bit: u8| Some(parts.next()?).map(|part| Some(part).filter(|_| nulls & (1 << bit) == 0));
        Some(Message { key: part(0)?, version: part(1)?, op: part(2)?, origin: part(3)?, value: part(4)? })
    }

    /// The input that is read as this.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let parts = [self.key, self.version, self.op, self.origin, self.value];
        let nulls =
            (0..).zip(parts).filter(|(_, part)| part.is_none()).fold(0, |nulls, (bit, _)| nulls | (1_u8 << bit));
        let mut input = vec![nulls];
        input.extend(parts.map(Option::unwrap_or_default).join(&b'\n'));
        input
    }
}
