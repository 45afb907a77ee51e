"""The vocabulary of the Remote Execution API: messages, services, resource names."""
