//! Serializers by the names of Java's classes, as `key.serializer` and `value.serializer` have them.

use rkafka_config::setting_enum;

setting_enum! {
    /// A serializer by the name of Java's class, with or without its package.
    ///
    /// In Rust the types of keys and values choose their serializers, before the program runs. A setting cannot choose
    /// another one then; it can say the same, as the properties of a program in Java do, and it is an error where it says
    /// anything else.
    pub enum SerializerClass {
        /// Whichever the program has: by its types, or in code.
        ByProgram = "program" | "",
        /// Texts.
        String = "org.apache.kafka.common.serialization.StringSerializer" | "StringSerializer",
        /// Bytes.
        ByteArray = "org.apache.kafka.common.serialization.ByteArraySerializer" | "ByteArraySerializer"
            | "org.apache.kafka.common.serialization.BytesSerializer" | "BytesSerializer"
            | "org.apache.kafka.common.serialization.ByteBufferSerializer" | "ByteBufferSerializer",
        /// Numbers of 16 bits.
        Short = "org.apache.kafka.common.serialization.ShortSerializer" | "ShortSerializer",
        /// Numbers of 32 bits.
        Integer = "org.apache.kafka.common.serialization.IntegerSerializer" | "IntegerSerializer",
        /// Numbers of 64 bits.
        Long = "org.apache.kafka.common.serialization.LongSerializer" | "LongSerializer",
        /// Floating-point numbers of 32 bits.
        Float = "org.apache.kafka.common.serialization.FloatSerializer" | "FloatSerializer",
        /// Floating-point numbers of 64 bits.
        Double = "org.apache.kafka.common.serialization.DoubleSerializer" | "DoubleSerializer",
        /// Truth values.
        Boolean = "org.apache.kafka.common.serialization.BooleanSerializer" | "BooleanSerializer",
        /// UUIDs.
        Uuid = "org.apache.kafka.common.serialization.UUIDSerializer" | "UUIDSerializer",
        /// Nulls.
        Void = "org.apache.kafka.common.serialization.VoidSerializer" | "VoidSerializer",
    }
}
