//! Numbers and names of the protocol as types.

/// Declares an enum whose values are numbers on the wire and have Kafka's names.
macro_rules! codes {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $number:ty {
            $($(#[$variant_meta:meta])* $variant:ident = $code:literal $text:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// Another, by its number.
            Other($number),
        }

        impl $name {
            /// Every one that this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The number on the wire.
            pub const fn code(self) -> $number {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Other(code) => code,
                }
            }

            /// Kafka's name; `UNKNOWN` for another.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(_) => "UNKNOWN",
                }
            }
        }

        impl From<$number> for $name {
            fn from(code: $number) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    other => Self::Other(other),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                let found = Self::ALL.iter().find(|one| one.name().eq_ignore_ascii_case(text)).copied();
                found.ok_or_else(|| $crate::codes::no_such(text, Self::ALL.iter().map(|one| one.name())))
            }
        }
    };
}

/// Declares an enum whose values are names on the wire.
macro_rules! names {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// One that this version does not know, or that the broker did not name.
            Unknown,
        }

        impl $name {
            /// Every one that this version knows.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Kafka's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "Unknown",
                }
            }

            pub(crate) fn read(text: &str) -> Self {
                Self::ALL.iter().find(|one| one.name().eq_ignore_ascii_case(text)).copied().unwrap_or(Self::Unknown)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                match Self::read(text) {
                    Self::Unknown => Err($crate::codes::no_such(text, Self::ALL.iter().map(|one| one.name()))),
                    found => Ok(found),
                }
            }
        }
    };
}

pub(crate) use {codes, names};

pub(crate) fn no_such(text: &str, known: impl Iterator<Item = &'static str>) -> crate::Error {
    let known: Vec<&str> = known.collect();
    crate::Error::new(crate::ErrorKind::Config, format!("`{text}` is none of {}", known.join(", ")))
}
