package clustermap

// AppendMap appends the encoding of m.
func AppendMap(dst []byte, m *Map) []byte {
	return encode(dst, func(e *encoder) { e.clusterMap(m) })
}

func (e *encoder) clusterMap(m *Map) {
	e.fixed(uint64(m.ClusterID))
	e.uint(m.Version)
	e.int(m.Updated)
	e.int(int64(m.Replication))
	var flags byte
	if m.AutoReplace {
		flags |= mapAutoReplace
	}
	if m.Recovered != 0 {
		flags |= mapRecovered
	}
	if m.Copying != (Copying{}) {
		flags |= mapCopying
	}
	e.byte(flags)
	if m.Recovered != 0 {
		e.uint(m.Recovered)
	}
	if m.Copying != (Copying{}) {
		e.copying(m.Copying)
	}
	e.uint(uint64(len(m.Servers)))
	for i := range m.Servers {
		e.server(&m.Servers[i])
	}
	e.list(m.Banned)
	e.uint(uint64(len(m.Partitions)))
	for i := range m.Partitions {
		e.partition(&m.Partitions[i])
	}
}

// DecodeMap is the map that b, and nothing else, encodes. It does not Validate.
func DecodeMap(b []byte) (*Map, error) {
	d := decoder{b: b, chunk: 256}
	d.start()
	m := d.clusterMap()
	if err := d.end(); err != nil {
		return nil, err
	}
	return m, nil
}

func (d *decoder) clusterMap() *Map {
	m := &Map{
		ClusterID:   ClusterID(d.fixed()),
		Version:     d.uint(^uint64(0)),
		Updated:     d.int(),
		Replication: int(d.int()),
	}
	flags := d.byte(mapFlags)
	m.AutoReplace = flags&mapAutoReplace != 0
	if flags&mapRecovered != 0 {
		if m.Recovered = d.uint(^uint64(0)); m.Recovered == 0 {
			d.fail("a map rebuilt at no version")
		}
	}
	if flags&mapCopying != 0 {
		if m.Copying = d.copying(); m.Copying == (Copying{}) {
			d.fail("copying as it is without")
		}
	}
	m.Servers = d.servers()
	m.Banned = d.list()
	if n := d.count(partitionSize); n > 0 {
		if n > MaxPartitions {
			d.fail("too many partitions")
			return nil
		}
		m.Partitions = make([]Partition, n)
		for i := range m.Partitions {
			m.Partitions[i] = d.partition()
		}
	}
	return m
}

// Flags of an encoded map.
const (
	mapAutoReplace = 1 << iota
	mapRecovered
	mapCopying
	mapFlags = 1<<iota - 1
)

// Flags of an encoded delta.
const (
	deltaCreate = 1 << iota
	deltaAutoReplace
	deltaAutoReplaceOn
	deltaRecover
	deltaCopying
	deltaFlags = 1<<iota - 1
)

func (e *encoder) copying(c Copying) {
	paused := byte(0)
	if c.Paused {
		paused = 1
	}
	e.byte(paused)
	e.int(c.Rate)
	e.int(int64(c.AtOnce))
}

func (d *decoder) copying() Copying {
	return Copying{Paused: d.byte(1) == 1, Rate: d.int(), AtOnce: int(d.int())}
}

// AppendDelta appends the encoding of c.
func AppendDelta(dst []byte, c *Delta) []byte {
	return encode(dst, func(e *encoder) {
		var flags byte
		if c.Create != nil {
			flags |= deltaCreate
		}
		if c.AutoReplace != nil {
			flags |= deltaAutoReplace
			if *c.AutoReplace {
				flags |= deltaAutoReplaceOn
			}
		}
		if c.Recover != nil {
			flags |= deltaRecover
		}
		if c.Copying != nil {
			flags |= deltaCopying
		}
		e.byte(flags)
		e.uint(c.Base)
		e.int(c.Updated)
		if c.Copying != nil {
			e.copying(*c.Copying)
		}
		if c.Create != nil {
			e.fixed(uint64(c.Create.ClusterID))
			e.int(int64(c.Create.Partitions))
			e.int(int64(c.Create.Replication))
		}
		e.uint(uint64(len(c.SetServers)))
		for i := range c.SetServers {
			e.server(&c.SetServers[i])
		}
		e.list(c.RemoveServers)
		e.list(c.Ban)
		e.uint(uint64(len(c.Partitions)))
		for i := range c.Partitions {
			p := &c.Partitions[i]
			e.uint(uint64(p.Index))
			e.uint(uint64(p.OldEpoch))
			e.partition(&p.New)
		}
		if c.Recover != nil {
			e.clusterMap(c.Recover)
		}
	})
}

// DecodeDelta is the delta that b, and nothing else, encodes.
func DecodeDelta(b []byte) (*Delta, error) {
	d := decoder{b: b, chunk: 256}
	d.start()
	flags := d.byte(deltaFlags)
	c := &Delta{Base: d.uint(^uint64(0)), Updated: d.int()}
	if flags&deltaCopying != 0 {
		copying := d.copying()
		c.Copying = &copying
	}
	if flags&deltaCreate != 0 {
		c.Create = &Creation{
			ClusterID:   ClusterID(d.fixed()),
			Partitions:  int(d.int()),
			Replication: int(d.int()),
		}
	}
	if flags&deltaAutoReplace != 0 {
		on := flags&deltaAutoReplaceOn != 0
		c.AutoReplace = &on
	}
	c.SetServers = d.servers()
	c.RemoveServers = d.list()
	c.Ban = d.list()
	if n := d.count(1 + 1 + partitionSize); n > 0 {
		if n > MaxPartitions {
			d.fail("too many partitions")
			return nil, d.err
		}
		c.Partitions = make([]PartitionChange, n)
		for i := range c.Partitions {
			c.Partitions[i] = PartitionChange{
				Index:    uint16(d.uint(MaxPartitions - 1)),
				OldEpoch: uint32(d.uint(1<<32 - 1)),
				New:      d.partition(),
			}
		}
	}
	if flags&deltaRecover != 0 {
		c.Recover = d.clusterMap()
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return c, nil
}

// AppendPartition appends the encoding of one partition, which stands alone.
func AppendPartition(dst []byte, p *Partition) []byte {
	return encode(dst, func(e *encoder) { e.partition(p) })
}

// DecodePartition is the partition at the start of b, and the bytes after it.
func DecodePartition(b []byte) (p Partition, rest []byte, err error) {
	d := decoder{b: b}
	d.start()
	p = d.partition()
	if d.err != nil {
		return Partition{}, nil, d.err
	}
	return p, d.b, nil
}
