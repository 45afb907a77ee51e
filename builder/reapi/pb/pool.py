"""The descriptor pool of our own messages, apart from that of other libraries."""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
