/** First in, first out. Taking one costs the same however many there are, which an array's `shift` doesn't. */
export class Fifo<Item> {
  /** From `#head` on. Before it there is nothing, which waits to be cut off. */
  #items: (Item | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get first(): Item | undefined {
    return this.#items[this.#head]
  }

  push(item: Item): void {
    this.#items.push(item)
  }

  shift(): Item | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    this.#items[this.#head++] = undefined
    if (this.#head === this.#items.length) {
      // A long array isn't kept for its room.
      if (this.#head > 1024) this.#items = []
      else this.#items.length = 0
      this.#head = 0
    } else if (this.#head > 1024 && this.#head > this.#items.length / 2) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }
}
