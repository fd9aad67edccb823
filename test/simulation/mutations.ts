/** A bug to plant into a source, as a replacement of text that must be there exactly once. */
export interface Mutation {
  readonly name: string
  /** Below `packages/`. */
  readonly file: string
  readonly from: string
  readonly to: string
  /** A seed that is known to notice it, to begin with; any other will do. */
  readonly noticedBy: number
}

/** Mistakes that somebody could make, each against a promise that only a run as a whole can show broken. */
export const mutations: readonly Mutation[] = [
  {
    name: 'acknowledge an aggregate of which only a part fits its shard',
    file: 'producer/src/strays.ts',
    from: 'unseal(sealed).every(({ record })',
    to: 'unseal(sealed).some(({ record })',
    noticedBy: 16,
  },
  {
    name: 'send the next Kinesis record of a lane before the last is answered',
    file: 'producer/src/lane.ts',
    from: "if (this.mode === 'aggregate') return 'lane'",
    to: "if (this.mode === 'aggregate') return sealed",
    noticedBy: 269,
  },
  {
    name: 'send from new lanes while records of the old ones are in flight',
    file: 'producer/src/lanes.ts',
    from: 'if (overlaps(retired.range, range)) lane.barriers.add(retired)',
    to: 'if (overlaps(retired.range, range)) lane.barriers.delete(retired)',
    noticedBy: 518,
  },
  {
    name: 'put what is sent again behind what came later',
    file: 'producer/src/lane.ts',
    from: 'this.settle(sealed)\n    this.#unshift(sealed)',
    to: 'this.settle(sealed)\n    this.#push(sealed)',
    noticedBy: 11,
  },
  {
    name: 'call a record without an answer refused',
    file: 'producer/src/stream-writer.ts',
    from: "if (outcome === 'unknown') mark(sealed, 'unknown')",
    to: '',
    noticedBy: 13,
  },
  {
    name: 'acknowledge what a partly failed request refused',
    file: 'producer/src/put-records.ts',
    from: 'if (code !== undefined && code !== null) {',
    to: 'if (code !== undefined && code !== null && !shardId) return { shardId: "shardId-000000000000", sequenceNumber: "1" }\n  if (code !== undefined && code !== null) {',
    noticedBy: 22,
  },
  {
    name: 'checkpoint before the handler is done',
    file: 'consumer/src/watermark.ts',
    from: 'head?.finished; head = this.oldest',
    to: 'head !== undefined; head = this.oldest',
    noticedBy: 1,
  },
  {
    name: 'skip a record whose handler failed',
    file: 'consumer/src/handler-pool.ts',
    from: 'shard.queue.failed(work)\n',
    to: 'shard.queue.finished(work); return\n',
    noticedBy: 7,
  },
  {
    name: 'skip the rest of an aggregate after a restart',
    file: 'consumer/src/record-buffer.ts',
    from: 'comparePositions({ sequenceNumber, subSequenceNumber }, this.#finishedBefore) <= 0',
    to: 'comparePositions({ sequenceNumber, subSequenceNumber: 0 }, { ...this.#finishedBefore, subSequenceNumber: 0 }) <= 0',
    noticedBy: 49,
  },
  {
    name: 'go on at the tip with a new iterator',
    file: 'consumer/src/shard-reader.ts',
    from: "{ ShardIteratorType: 'AT_SEQUENCE_NUMBER', StartingSequenceNumber: lastKnown }",
    to: "{ ShardIteratorType: 'LATEST' }",
    noticedBy: 1,
  },
  {
    name: 'read a child without waiting for its parents',
    file: 'consumer/src/shard-consumer.ts',
    from: 'if (await orAborted(parentsFinished(this.#holder.lease, table), signal)) return',
    to: 'return',
    noticedBy: 1,
  },
  {
    name: 'hand a lease off while handlers still work on its records',
    file: 'consumer/src/shard-consumer.ts',
    from: 'const finished = await this.#progress.until(() => this.#queue.idle, patience, clock, closeTimeout)',
    to: 'const finished = patience !== undefined && clock !== undefined && closeTimeout >= 0',
    noticedBy: 149,
  },
  {
    name: 'end a shard while its last records are being handled',
    file: 'consumer/src/shard-consumer.ts',
    from: 'while (!this.#queue.empty) await this.#progress.wait(this.#stopping.signal)',
    to: '',
    noticedBy: 1,
  },
  {
    name: 'renew a lease without a condition',
    file: 'consumer/src/lease-changes.ts',
    from: 'when: heldBy(lease, worker),\n    set: { leaseCounter: number(lease.counter + 1), ...(checkpoint',
    to: 'when: [],\n    set: { leaseCounter: number(lease.counter + 1), ...(checkpoint',
    noticedBy: 9,
  },
  {
    name: 'take a lease up without a condition',
    file: 'consumer/src/lease-changes.ts',
    from: `when: [
      { leaseCounter: number(lease.counter), leaseOwner: { S: worker }, checkpointOwner: undefined },
      { leaseCounter: number(lease.counter), leaseOwner: { S: worker }, checkpointOwner: { S: worker } },
    ],`,
    to: 'when: [],',
    noticedBy: 1,
  },
  {
    name: 'let handlers go on after the lease is lost',
    file: 'consumer/src/shard-consumer.ts',
    from: '      this.#handlers.abort(holder.lost.reason)\n',
    to: '',
    noticedBy: 192,
  },
  {
    name: 'believe that a lease holds for longer than others wait',
    file: 'consumer/src/lease-holder.ts',
    from: 'this.#heldUntilMs = sentAt + this.#context.failoverTime',
    to: 'this.#heldUntilMs = sentAt + 10 * this.#context.failoverTime',
    noticedBy: 72,
  },
  {
    name: 'run two records of a key at once',
    file: 'consumer/src/key-lanes.ts',
    from: 'return this.#busy.size > 0 && this.#busy.has(key)',
    to: 'return false',
    noticedBy: 1,
  },
]

/** @throws if the text to replace isn't there exactly once: then the mutation has to be brought up to date */
export function mutated(source: string, { name, file, from, to }: Mutation): string {
  const count = source.split(from).length - 1
  if (count !== 1) throw new Error(`mutation "${name}": expected its text once in ${file}, found it ${count} times`)
  return source.replace(from, () => to)
}
