"""Two logical CPUs, as tests of several replicas need.

They must be asked for before TensorFlow runs anything.
"""

import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)
