//! What clients, operator and broker agree on: the Kafka protocol and the property tables. No runtime, no IO.
