//! One row per API of Kafka 4.4: key, name, versions, first flexible version, and which kind of listener serves it.

/// Which listeners an API belongs to in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// Brokers only.
    Broker,
    /// Controllers only.
    Controller,
    /// Both.
    Both,
}

macro_rules! api_keys {
    ($($name:ident = $key:literal, $min:literal ..= $max:literal, flexible $flexible:expr, $served:ident;)*) => {
        /// An API, by its wire number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($key), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// All of them, by number.
            pub const ALL: &'static [ApiKey] = &[$(ApiKey::$name),*];

            /// The API of a wire number.
            pub fn from_code(code: i16) -> Option<ApiKey> {
                match code {
                    $($key => Some(ApiKey::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// The versions that the codec knows (Kafka 4.4's range).
            pub fn versions(self) -> std::ops::RangeInclusive<i16> {
                match self {
                    $(ApiKey::$name => $min..=$max,)*
                }
            }

            /// The first version with compact lengths and tagged fields.
            pub fn first_flexible(self) -> Option<i16> {
                match self {
                    $(ApiKey::$name => $flexible,)*
                }
            }

            /// Which listeners serve it in Kafka.
            pub fn served(self) -> Served {
                match self {
                    $(ApiKey::$name => Served::$served,)*
                }
            }
        }
    };
}

impl ApiKey {
    /// The wire number.
    pub fn code(self) -> i16 {
        self as i16
    }

    /// Whether a version is flexible (KIP-482).
    pub fn is_flexible(self, version: i16) -> bool {
        self.first_flexible().is_some_and(|first| version >= first)
    }
}

api_keys! {
    Produce = 0, 3 ..= 13, flexible Some(9), Broker;
    Fetch = 1, 4 ..= 18, flexible Some(12), Both;
    ListOffsets = 2, 1 ..= 11, flexible Some(6), Broker;
    Metadata = 3, 0 ..= 13, flexible Some(9), Broker;
    OffsetCommit = 8, 2 ..= 10, flexible Some(8), Broker;
    OffsetFetch = 9, 1 ..= 10, flexible Some(6), Broker;
    FindCoordinator = 10, 0 ..= 6, flexible Some(3), Broker;
    JoinGroup = 11, 0 ..= 9, flexible Some(6), Broker;
    Heartbeat = 12, 0 ..= 4, flexible Some(4), Broker;
    LeaveGroup = 13, 0 ..= 5, flexible Some(4), Broker;
    SyncGroup = 14, 0 ..= 5, flexible Some(4), Broker;
    DescribeGroups = 15, 0 ..= 6, flexible Some(5), Broker;
    ListGroups = 16, 0 ..= 5, flexible Some(3), Broker;
    SaslHandshake = 17, 0 ..= 1, flexible None, Both;
    ApiVersions = 18, 0 ..= 5, flexible Some(3), Both;
    CreateTopics = 19, 2 ..= 7, flexible Some(5), Both;
    DeleteTopics = 20, 1 ..= 6, flexible Some(4), Both;
    DeleteRecords = 21, 0 ..= 2, flexible Some(2), Broker;
    InitProducerId = 22, 0 ..= 6, flexible Some(2), Broker;
    OffsetForLeaderEpoch = 23, 2 ..= 4, flexible Some(4), Broker;
    AddPartitionsToTxn = 24, 0 ..= 5, flexible Some(3), Broker;
    AddOffsetsToTxn = 25, 0 ..= 4, flexible Some(3), Broker;
    EndTxn = 26, 0 ..= 5, flexible Some(3), Broker;
    WriteTxnMarkers = 27, 1 ..= 2, flexible Some(1), Broker;
    TxnOffsetCommit = 28, 0 ..= 6, flexible Some(3), Broker;
    DescribeAcls = 29, 1 ..= 3, flexible Some(2), Both;
    CreateAcls = 30, 1 ..= 3, flexible Some(2), Both;
    DeleteAcls = 31, 1 ..= 3, flexible Some(2), Both;
    DescribeConfigs = 32, 1 ..= 4, flexible Some(4), Both;
    AlterConfigs = 33, 0 ..= 2, flexible Some(2), Both;
    AlterReplicaLogDirs = 34, 1 ..= 2, flexible Some(2), Broker;
    DescribeLogDirs = 35, 1 ..= 5, flexible Some(2), Broker;
    SaslAuthenticate = 36, 0 ..= 2, flexible Some(2), Both;
    CreatePartitions = 37, 0 ..= 3, flexible Some(2), Both;
    CreateDelegationToken = 38, 1 ..= 3, flexible Some(2), Both;
    RenewDelegationToken = 39, 1 ..= 2, flexible Some(2), Both;
    ExpireDelegationToken = 40, 1 ..= 2, flexible Some(2), Both;
    DescribeDelegationToken = 41, 1 ..= 3, flexible Some(2), Both;
    DeleteGroups = 42, 0 ..= 3, flexible Some(2), Broker;
    ElectLeaders = 43, 0 ..= 2, flexible Some(2), Both;
    IncrementalAlterConfigs = 44, 0 ..= 1, flexible Some(1), Both;
    AlterPartitionReassignments = 45, 0 ..= 1, flexible Some(0), Both;
    ListPartitionReassignments = 46, 0 ..= 0, flexible Some(0), Both;
    OffsetDelete = 47, 0 ..= 0, flexible None, Broker;
    DescribeClientQuotas = 48, 0 ..= 1, flexible Some(1), Broker;
    AlterClientQuotas = 49, 0 ..= 1, flexible Some(1), Both;
    DescribeUserScramCredentials = 50, 0 ..= 0, flexible Some(0), Both;
    AlterUserScramCredentials = 51, 0 ..= 0, flexible Some(0), Both;
    Vote = 52, 0 ..= 2, flexible Some(0), Controller;
    BeginQuorumEpoch = 53, 0 ..= 1, flexible Some(1), Controller;
    EndQuorumEpoch = 54, 0 ..= 1, flexible Some(1), Controller;
    DescribeQuorum = 55, 0 ..= 2, flexible Some(0), Both;
    AlterPartition = 56, 2 ..= 3, flexible Some(2), Controller;
    UpdateFeatures = 57, 0 ..= 2, flexible Some(0), Both;
    Envelope = 58, 0 ..= 0, flexible Some(0), Controller;
    FetchSnapshot = 59, 0 ..= 1, flexible Some(0), Controller;
    DescribeCluster = 60, 0 ..= 2, flexible Some(0), Both;
    DescribeProducers = 61, 0 ..= 0, flexible Some(0), Broker;
    BrokerRegistration = 62, 0 ..= 4, flexible Some(0), Controller;
    BrokerHeartbeat = 63, 0 ..= 2, flexible Some(0), Controller;
    UnregisterBroker = 64, 0 ..= 0, flexible Some(0), Both;
    DescribeTransactions = 65, 0 ..= 0, flexible Some(0), Broker;
    ListTransactions = 66, 0 ..= 2, flexible Some(0), Broker;
    AllocateProducerIds = 67, 0 ..= 0, flexible Some(0), Controller;
    ConsumerGroupHeartbeat = 68, 0 ..= 1, flexible Some(0), Broker;
    ConsumerGroupDescribe = 69, 0 ..= 1, flexible Some(0), Broker;
    ControllerRegistration = 70, 0 ..= 0, flexible Some(0), Controller;
    GetTelemetrySubscriptions = 71, 0 ..= 0, flexible Some(0), Broker;
    PushTelemetry = 72, 0 ..= 0, flexible Some(0), Broker;
    AssignReplicasToDirs = 73, 0 ..= 0, flexible Some(0), Controller;
    ListConfigResources = 74, 0 ..= 1, flexible Some(0), Broker;
    DescribeTopicPartitions = 75, 0 ..= 0, flexible Some(0), Broker;
    ShareGroupHeartbeat = 76, 1 ..= 1, flexible Some(1), Broker;
    ShareGroupDescribe = 77, 1 ..= 1, flexible Some(1), Broker;
    ShareFetch = 78, 1 ..= 2, flexible Some(1), Broker;
    ShareAcknowledge = 79, 1 ..= 2, flexible Some(1), Broker;
    AddRaftVoter = 80, 0 ..= 1, flexible Some(0), Both;
    RemoveRaftVoter = 81, 0 ..= 0, flexible Some(0), Both;
    UpdateRaftVoter = 82, 0 ..= 0, flexible Some(0), Controller;
    InitializeShareGroupState = 83, 0 ..= 0, flexible Some(0), Broker;
    ReadShareGroupState = 84, 0 ..= 0, flexible Some(0), Broker;
    WriteShareGroupState = 85, 0 ..= 1, flexible Some(0), Broker;
    DeleteShareGroupState = 86, 0 ..= 0, flexible Some(0), Broker;
    ReadShareGroupStateSummary = 87, 0 ..= 1, flexible Some(0), Broker;
    StreamsGroupHeartbeat = 88, 0 ..= 1, flexible Some(0), Broker;
    StreamsGroupDescribe = 89, 0 ..= 1, flexible Some(0), Broker;
    DescribeShareGroupOffsets = 90, 0 ..= 1, flexible Some(0), Broker;
    AlterShareGroupOffsets = 91, 0 ..= 0, flexible Some(0), Broker;
    DeleteShareGroupOffsets = 92, 0 ..= 0, flexible Some(0), Broker;
    StreamsGroupTopologyDescriptionUpdate = 93, 0 ..= 0, flexible Some(0), Broker;
    UnregisterController = 94, 0 ..= 0, flexible Some(0), Both;
}
