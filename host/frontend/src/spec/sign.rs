//! Operators: calls that have a sign as their name, or a word.

use super::Call;

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// All are true; any number of operands.
    And,
    /// One is true; any number of operands.
    Or,
    /// It is not true.
    Not,
    /// Both are the same.
    Equal,
    /// They are not.
    NotEqual,
    /// Both are the same, or both are null.
    Same,
    /// The left one is smaller.
    Less,
    /// The left one is not larger.
    LessOrEqual,
    /// The left one is larger.
    Greater,
    /// The left one is not smaller.
    GreaterOrEqual,
    /// The first is among the others.
    In,
    /// The first is not below the second, nor above the third.
    Between,
    /// A text is as a pattern says.
    Like,
    /// The same, whatever the case.
    ILike,
    /// A text is as one of several patterns says.
    LikeAny,
    /// A text is as all of several patterns say.
    LikeAll,
    /// As [`Sign::LikeAny`], whatever the case.
    ILikeAny,
    /// As [`Sign::LikeAll`], whatever the case.
    ILikeAll,
    /// A sum, or what is behind it.
    Plus,
    /// A difference, or the opposite of what is behind it.
    Minus,
    /// A product.
    Times,
    /// A quotient.
    Divide,
    /// A quotient without its fraction.
    DivideWhole,
    /// A remainder.
    Remainder,
    /// Bits that both have.
    BitAnd,
    /// Bits that one has.
    BitOr,
    /// Bits that one has, and not the other.
    BitXor,
    /// Each bit turned over.
    BitNot,
    /// Bits shifted to the left.
    ShiftLeft,
    /// Bits shifted to the right, with the sign.
    ShiftRight,
    /// Bits shifted to the right, with zeros.
    ShiftRightUnsigned,
    /// One after the other.
    Concat,
}

/// All of them, with their names.
const NAMES: [(Sign, &str); 32] = [
    (Sign::And, "and"),
    (Sign::Or, "or"),
    (Sign::Not, "not"),
    (Sign::Equal, "="),
    (Sign::NotEqual, "<>"),
    (Sign::Same, "<=>"),
    (Sign::Less, "<"),
    (Sign::LessOrEqual, "<="),
    (Sign::Greater, ">"),
    (Sign::GreaterOrEqual, ">="),
    (Sign::In, "in"),
    (Sign::Between, "between"),
    (Sign::Like, "like"),
    (Sign::ILike, "ilike"),
    (Sign::LikeAny, "likeany"),
    (Sign::LikeAll, "likeall"),
    (Sign::ILikeAny, "ilikeany"),
    (Sign::ILikeAll, "ilikeall"),
    (Sign::Plus, "+"),
    (Sign::Minus, "-"),
    (Sign::Times, "*"),
    (Sign::Divide, "/"),
    (Sign::DivideWhole, "div"),
    (Sign::Remainder, "%"),
    (Sign::BitAnd, "&"),
    (Sign::BitOr, "|"),
    (Sign::BitXor, "^"),
    (Sign::BitNot, "~"),
    (Sign::ShiftLeft, "<<"),
    (Sign::ShiftRight, ">>"),
    (Sign::ShiftRightUnsigned, ">>>"),
    (Sign::Concat, "||"),
];

impl Sign {
    /// The operator of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Sign> {
        NAMES.into_iter().find(|(_, known)| *known == name).map(|(sign, _)| sign)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        NAMES.into_iter().find(|(sign, _)| *sign == self).map_or("", |(_, name)| name)
    }
}

impl From<Sign> for String {
    fn from(sign: Sign) -> String {
        sign.name().to_owned()
    }
}

impl Call {
    /// The operator that it is a call of.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        Sign::named(&self.name)
    }
}
