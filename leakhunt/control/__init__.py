"""The other end of the agent: finds it in running processes, asks it for evidence, brings it into a command."""
