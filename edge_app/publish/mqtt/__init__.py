"""One connection to a broker, from CONNECT to its end. The only folder that knows paho-mqtt.

The library is used without its own thread, queue and reconnecting: its thread dies of an exception in a
callback, its queue grows without bound, and what it does on reconnecting cannot be steered. One client lives
for one connection, driven by the caller's thread through the interface for foreign event loops; a message is
handed over only while the socket takes it, so nothing piles up inside.
"""
