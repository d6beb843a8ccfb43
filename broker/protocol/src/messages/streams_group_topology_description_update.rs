//! StreamsGroupTopologyDescriptionUpdate, API key 93: versions 0 to 0, flexible from 0.

use crate::message;
use crate::primitives::Str;

message! {
    /// Request body of StreamsGroupTopologyDescriptionUpdate (key 93).
    pub struct StreamsGroupTopologyDescriptionUpdateRequest, flexible 0 {
        group_id: Str, versions 0..;
        member_id: Str, versions 0..;
        topology_epoch: i32, versions 0..;
        topology_description: StreamsGroupTopologyDescriptionUpdateRequestTopologyDescription, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyDescriptionUpdateRequest`].
    pub struct StreamsGroupTopologyDescriptionUpdateRequestTopologyDescription, flexible 0 {
        subtopologies: Vec<StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionSubtopology>, versions 0..;
        global_stores: Vec<StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStore>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyDescriptionUpdateRequestTopologyDescription`].
    pub struct StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionSubtopology, flexible 0 {
        subtopology_id: Str, versions 0..;
        nodes: Vec<StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionSubtopologyNode>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionSubtopology`].
    pub struct StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionSubtopologyNode, flexible 0 {
        name: Str, versions 0..;
        node_type: i8, versions 0..;
        source_topics: Vec<Str>, versions 0..;
        sink_topic: Option<Str>, versions 0.., nullable 0..;
        stores: Vec<Str>, versions 0..;
        successors: Vec<Str>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyDescriptionUpdateRequestTopologyDescription`].
    pub struct StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStore, flexible 0 {
        source: StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStoreSource, versions 0..;
        processor: StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStoreProcessor, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStore`].
    pub struct StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStoreSource, flexible 0 {
        name: Str, versions 0..;
        node_type: i8, versions 0..;
        source_topics: Vec<Str>, versions 0..;
        sink_topic: Option<Str>, versions 0.., nullable 0..;
        stores: Vec<Str>, versions 0..;
        successors: Vec<Str>, versions 0..;
    }

    /// Part of [`StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStore`].
    pub struct StreamsGroupTopologyDescriptionUpdateRequestTopologyDescriptionGlobalStoreProcessor, flexible 0 {
        name: Str, versions 0..;
        node_type: i8, versions 0..;
        source_topics: Vec<Str>, versions 0..;
        sink_topic: Option<Str>, versions 0.., nullable 0..;
        stores: Vec<Str>, versions 0..;
        successors: Vec<Str>, versions 0..;
    }

    /// Response body of StreamsGroupTopologyDescriptionUpdate (key 93).
    pub struct StreamsGroupTopologyDescriptionUpdateResponse, flexible 0 {
        throttle_time_ms: i32, versions 0..;
        error_code: i16, versions 0..;
        error_message: Option<Str>, versions 0.., nullable 0..;
    }
}
