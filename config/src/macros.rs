//! The declarations.

/// Declares a config. See the [crate's documentation](crate) for what comes of it.
///
/// ```text
/// settings! {
///     /// Documentation of the config.
///     pub struct ProducerConfig {
///         embed client: ClientConfig as ClientSettings;      // any number, first; `as Trait` where it declares one
///
///         /// Documentation of the setting.
///         "kafka.name" aka "other.name", "third" => field: Type = default, in BOUND, because "reason";
///     }
///     validate = function;                                   // optional: fn(&ProducerConfig) -> Result<(), ConfigError>
///     refuse = function;                                     // optional: fn(&str) -> Option<&'static str>
/// }
/// ```
///
/// `refuse` gives the reason why a setting of Kafka's is not to be had in this config, by its name; it is asked for names
/// that nothing else has.
///
/// `aka` and `, in .., because ..` may be left out. A bound is a range (`1..=5`, `0..`) or a [`Check`](crate::Check).
///
/// For each setting there are a public field to read and a chainable setter of the same name. The config has `new`,
/// `Default`, `Clone`, `Debug`, `PartialEq`, [`Settings`](crate::Settings), and that trait's methods as its own. An
/// embedded config is a public field, with a chainable setter that replaces it.
///
/// `pub struct ClientConfig as ClientSettings { .. }` also declares a trait `ClientSettings` with the same chainable
/// setters, which every config that embeds it with `as ClientSettings` has, so that
/// `ProducerConfig::new().bootstrap_servers("broker:9092")` works where the trait is imported.
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $config:ident $(as $trait:ident)? {
            $( embed $embedded:ident : $embedded_type:ty $(as $embedded_trait:path)? ; )*
            $(
                $(#[doc = $doc:literal])*
                $name:literal $(aka $($alias:literal),+)? => $field:ident : $type:ty = $default:expr
                    $(, in $bound:expr, because $reason:literal)? ;
            )*
        }
        $(validate = $validate:path;)?
        $(refuse = $refuse:path;)?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        $visibility struct $config {
            $( #[doc = ::std::concat!("The embedded `", ::std::stringify!($embedded_type), "`.")] pub $embedded: $embedded_type, )*
            $( $(#[doc = $doc])* #[doc = ::std::concat!("\n\nKafka's `", $name, "`.")] pub $field: $type, )*
        }

        impl ::std::default::Default for $config {
            fn default() -> Self {
                Self {
                    $( $embedded: <$embedded_type as ::std::default::Default>::default(), )*
                    $( $field: $default, )*
                }
            }
        }

        impl $config {
            /// Every setting at its default.
            pub fn new() -> Self {
                <Self as ::std::default::Default>::default()
            }

            $(
                $(#[doc = $doc])*
                #[doc = ::std::concat!("\n\nSets Kafka's `", $name, "`. The bound is checked when the config is used.")]
                #[must_use]
                pub fn $field(mut self, value: impl $crate::IntoSetting<$type>) -> Self {
                    self.$field = value.into_setting();
                    self
                }
            )*

            $(
                /// Replaces the embedded config.
                #[must_use]
                pub fn $embedded(mut self, config: $embedded_type) -> Self {
                    self.$embedded = config;
                    self
                }
            )*

            /// Sets the setting called `name` from text, such as `set("request.timeout.ms", "5s")`.
            ///
            /// # Errors
            /// No setting has the name (the error has a suggestion), the text is no value of its type, or the value is
            /// out of its bound. The config is then as it was.
            pub fn set(&mut self, name: &str, value: &str) -> ::std::result::Result<(), $crate::ConfigError> {
                $crate::Settings::set(self, name, value)
            }

            /// The defaults, changed by `properties`, and validated.
            ///
            /// # Errors
            /// A setting that cannot be taken, or settings that do not go together.
            pub fn from_properties<K: ::std::convert::AsRef<str>, V: ::std::convert::AsRef<str>>(
                properties: impl ::std::iter::IntoIterator<Item = (K, V)>,
            ) -> ::std::result::Result<Self, $crate::ConfigError> {
                <Self as $crate::Settings>::from_properties(properties)
            }

            /// The defaults, changed by the text of a properties file (Java's syntax), and validated.
            ///
            /// # Errors
            /// As [`Self::from_properties`], with the line of the file.
            pub fn from_properties_text(text: &str) -> ::std::result::Result<Self, $crate::PropertiesError> {
                <Self as $crate::Settings>::from_properties_text(text)
            }

            /// Checks every bound, for typed setters take any value, and what must hold between settings.
            ///
            /// # Errors
            /// The first setting that is out of its bound or in conflict with another.
            pub fn validate(&self) -> ::std::result::Result<(), $crate::ConfigError> {
                $crate::Settings::validate(self)
            }

            /// Every setting, embedded configs first.
            pub fn describe() -> &'static [$crate::SettingDoc] {
                <Self as $crate::Settings>::describe()
            }

            /// Every setting with its present value; secrets are `[hidden]`.
            pub fn entries(&self) -> ::std::vec::Vec<$crate::Entry> {
                $crate::Settings::entries(self)
            }
        }

        impl $crate::Settings for $config {
            fn try_set(
                &mut self,
                name: &str,
                value: &str,
            ) -> ::std::option::Option<::std::result::Result<(), $crate::ConfigError>> {
                let _ = value;
                match name {
                    $(
                        $name $($(| $alias)+)? => ::std::option::Option::Some(
                            $crate::internal::parse::<$type>($name, value).and_then(|parsed| {
                                $( $crate::internal::check($name, &parsed, &($bound), $reason)?; )?
                                self.$field = parsed;
                                ::std::result::Result::Ok(())
                            }),
                        ),
                    )*
                    _ => {
                        $(
                            if let ::std::option::Option::Some(done) =
                                $crate::Settings::try_set(&mut self.$embedded, name, value)
                            {
                                return ::std::option::Option::Some(done);
                            }
                        )*
                        $(
                            if let ::std::option::Option::Some(reason) = $refuse(name) {
                                return ::std::option::Option::Some(::std::result::Result::Err(
                                    $crate::ConfigError::Unsupported { name: name.into(), reason: reason.into() },
                                ));
                            }
                        )?
                        ::std::option::Option::None
                    }
                }
            }

            fn entries(&self) -> ::std::vec::Vec<$crate::Entry> {
                let mut entries = ::std::vec::Vec::new();
                $( entries.extend($crate::Settings::entries(&self.$embedded)); )*
                let defaults = Self::new();
                let _ = &defaults;
                $(
                    entries.push($crate::Entry::new(
                        $name,
                        <$type as $crate::Setting>::to_text(&self.$field, $name),
                        self.$field == defaults.$field,
                    ));
                )*
                entries
            }

            fn describe() -> &'static [$crate::SettingDoc] {
                static DOCS: ::std::sync::LazyLock<::std::vec::Vec<$crate::SettingDoc>> =
                    ::std::sync::LazyLock::new(|| {
                        let mut docs = ::std::vec::Vec::new();
                        $( docs.extend_from_slice(<$embedded_type as $crate::Settings>::describe()); )*
                        let defaults = $config::new();
                        let _ = &defaults;
                        $(
                            docs.push($crate::internal::describe::<$type>(
                                ($name, &[$($($alias),+)?], ::std::stringify!($config)),
                                &defaults.$field,
                                $crate::settings!(@bound $type, $name $(, $bound, $reason)?),
                                ::std::concat!($($doc, "\n"),*),
                            ));
                        )*
                        docs
                    });
                &DOCS
            }

            fn validate(&self) -> ::std::result::Result<(), $crate::ConfigError> {
                $( $crate::Settings::validate(&self.$embedded)?; )*
                $( $( $crate::internal::check::<$type>($name, &self.$field, &($bound), $reason)?; )? )*
                $( $validate(self)?; )?
                ::std::result::Result::Ok(())
            }
        }

        $crate::settings!(@trait $visibility $config [$($trait)?] $($(#[doc = $doc])* $name, $field: $type;)*);
        $( $crate::settings!(@embed $config $embedded $embedded_type, [$($embedded_trait)?]); )*
    };

    (@bound $type:ty, $name:literal) => { ::std::option::Option::None };
    (@bound $type:ty, $name:literal, $bound:expr, $reason:literal) => {
        ::std::option::Option::Some(($crate::Bound::<$type>::text(&($bound), $name), $reason))
    };

    (@trait $visibility:vis $config:ident [] $($rest:tt)*) => {};
    (@trait $visibility:vis $config:ident [$trait:ident]
        $($(#[doc = $doc:literal])* $name:literal, $field:ident: $type:ty;)*
    ) => {
        #[doc = ::std::concat!("The setters of [`", ::std::stringify!($config), "`], for every config that embeds it.")]
        $visibility trait $trait: ::std::marker::Sized {
            /// The embedded config.
            fn embedded_mut(&mut self) -> &mut $config;
            $(
                $(#[doc = $doc])*
                #[doc = ::std::concat!("\n\nSets Kafka's `", $name, "`. The bound is checked when the config is used.")]
                #[must_use]
                fn $field(mut self, value: impl $crate::IntoSetting<$type>) -> Self {
                    <Self as $trait>::embedded_mut(&mut self).$field = value.into_setting();
                    self
                }
            )*
        }

        impl $trait for $config {
            fn embedded_mut(&mut self) -> &mut $config {
                self
            }
        }
    };

    (@embed $config:ident $embedded:ident $embedded_type:ty, []) => {};
    (@embed $config:ident $embedded:ident $embedded_type:ty, [$trait:path]) => {
        impl $trait for $config {
            fn embedded_mut(&mut self) -> &mut $embedded_type {
                &mut self.$embedded
            }
        }
    };
}

/// Declares an enumeration that a setting may have, with each value's spelling; more spellings are read after `|`,
/// and case is no difference in reading.
///
/// ```
/// rkafka_config::setting_enum! {
///     /// Who must have a record before it counts as delivered.
///     pub enum Acks {
///         /// Nobody.
///         None = "0",
///         /// The in-sync replicas.
///         All = "all" | "-1",
///     }
/// }
/// assert_eq!("-1".parse(), Ok(Acks::All));
/// assert_eq!(Acks::All.to_string(), "all");
/// ```
#[macro_export]
macro_rules! setting_enum {
    (
        $(#[$meta:meta])*
        $visibility:vis enum $enum:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $text:literal $(| $other:literal)* ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        $visibility enum $enum {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl ::std::fmt::Display for $enum {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.pad(match self {
                    $( Self::$variant => $text, )+
                })
            }
        }

        impl ::std::str::FromStr for $enum {
            type Err = ::std::string::String;

            /// Reads the value; the error says what is expected.
            fn from_str(text: &str) -> ::std::result::Result<Self, ::std::string::String> {
                $(
                    if [$text $(, $other)*].iter().any(|known| text.eq_ignore_ascii_case(known)) {
                        return ::std::result::Result::Ok(Self::$variant);
                    }
                )+
                ::std::result::Result::Err(<Self as $crate::Setting>::expected(""))
            }
        }

        impl $crate::Setting for $enum {
            fn from_text(text: &str, _name: &str) -> ::std::option::Option<Self> {
                text.parse().ok()
            }

            fn to_text(&self, _name: &str) -> ::std::string::String {
                ::std::string::ToString::to_string(self)
            }

            fn expected(_name: &str) -> ::std::string::String {
                ::std::format!("one of {}", [$($text),+].join(", "))
            }
        }
    };
}
