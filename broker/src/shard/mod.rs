//! What one core owns: partitions, durability rounds, coordinators, and the mesh to the other cores.
