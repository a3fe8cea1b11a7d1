package cli

// Version of kumofs, as --version and `kumostat version` show it.
const Version = "0.1.0"

// Default ports, those of the original.
const (
	ManagerPort = 19700 // managers: Raft, links, tools
	ServerPort  = 19800 // servers: data, links, tools
	StreamPort  = 19900 // servers: bulk copying
	TextPort    = 11411 // gateway: memcached
	BinaryPort  = 11511 // gateway: memcached, second port
	CloudyPort  = 11611 // gateway: memcached, third port
)
