package event

import "sync"

// Blocks hands out a sink per block and keeps blocks whole on the way to one sink.
type Blocks struct {
	mu   sync.Mutex
	to   Sink
	live bool
}

// NewBlocks passes events on to to. live says that only one block is open at a time: then events pass at once.
func NewBlocks(to Sink, live bool) *Blocks { return &Blocks{to: to, live: live} }

// Emit passes e on at once. It is for what stands outside any block.
func (b *Blocks) Emit(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to.Emit(e)
}

// Open is the sink of a new block. Close it, also after a panic: until then the block is kept.
func (b *Blocks) Open() *Block { return &Block{blocks: b} }

// Block is the sink of one block. It is used by one goroutine.
type Block struct {
	blocks *Blocks
	kept   []Event
}

// Emit passes e on at once when blocks are live, else keeps it.
func (b *Block) Emit(e Event) {
	if b.blocks.live {
		b.blocks.Emit(e)
		return
	}
	b.kept = append(b.kept, e)
}

// Close passes on what was kept, as a whole.
func (b *Block) Close() {
	b.blocks.mu.Lock()
	defer b.blocks.mu.Unlock()
	for _, e := range b.kept {
		b.blocks.to.Emit(e)
	}
	b.kept = nil
}
