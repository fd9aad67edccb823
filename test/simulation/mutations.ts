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
    from: "return this.mode.aggregates ? 'lane' : sealed.hashKey",
    to: 'return this.mode.aggregates ? sealed : sealed.hashKey',
    noticedBy: 135,
  },
  {
    name: 'send the next record of a hash key before the last is answered',
    file: 'producer/src/lane.ts',
    from: "return this.mode.aggregates ? 'lane' : sealed.hashKey",
    to: "return this.mode.aggregates ? 'lane' : sealed",
    noticedBy: 6,
  },
  {
    name: 'send from new lanes while records of the old ones are in flight',
    file: 'producer/src/lanes.ts',
    from: '      lane.barriers.add(retired)\n',
    to: '',
    noticedBy: 13,
  },
  {
    name: 'send by the first shard map while records sent without one are in flight',
    file: 'producer/src/lanes.ts',
    from: 'for (const retired of this.#retired) this.#bar(retired, made)',
    to: 'for (const retired of this.#retired) if (retired.shardId !== UNKNOWN_SHARD) this.#bar(retired, made)',
    noticedBy: 13,
  },
  {
    name: 'put what is sent again behind what came later',
    file: 'producer/src/lane.ts',
    from: 'this.settle(sealed)\n    this.#unshift(sealed)',
    to: 'this.settle(sealed)\n    this.#push(sealed)',
    noticedBy: 22,
  },
  {
    name: 'call a record without an answer refused',
    file: 'producer/src/sender.ts',
    from: "mark(sealed, 'unknown')",
    to: '',
    noticedBy: 5,
  },
  {
    name: 'use the bytes of a request again that was given up',
    file: 'producer/src/sender.ts',
    from: 'may still read its bytes.\n      sealed.builder = undefined',
    to: 'may still read its bytes.',
    noticedBy: 65,
  },
  {
    name: 'acknowledge what a partly failed request refused',
    file: 'producer/src/put-records.ts',
    from: 'if (code !== undefined && code !== null) {',
    to: 'if (code !== undefined && code !== null && !shardId) return { shardId: "shardId-000000000000", sequenceNumber: "1" }\n  if (code !== undefined && code !== null) {',
    noticedBy: 2,
  },
  {
    name: 'wait for an answer for ever',
    file: 'core/src/timed-kinesis.ts',
    from: 'clock.sleep(timeoutMs, timer.signal)',
    to: 'clock.sleep(1e9 * timeoutMs, timer.signal)',
    noticedBy: 20,
  },
  {
    name: 'let aggregates be where the service put them',
    file: 'producer/src/strays.ts',
    from: ' && place.shardId !== each.lane.shardId && !lanes.aggregates) {',
    to: " && place.shardId === '') {",
    noticedBy: 20,
  },
  {
    name: 'go on aggregating where the service distributes',
    file: 'producer/src/lanes.ts',
    from: ": aggregation === 'always',",
    to: ': aggregation !== false,',
    noticedBy: 12,
  },
  {
    name: 'aggregate without a shard map',
    file: 'producer/src/lanes.ts',
    from: 'aggregation !== false && this.#map !== NO_MAP',
    to: 'aggregation !== false',
    noticedBy: 7,
  },
  {
    name: 'aggregate records that have no key',
    file: 'producer/src/lane.ts',
    from: 'if (!this.mode.aggregates || !isKeyed(record)) {',
    to: 'if (!this.mode.aggregates) {',
    noticedBy: 128,
  },
  {
    name: 'send again what is to fail when it is throttled',
    file: 'producer/src/sender.ts',
    from: "outcome === 'throttled' && failIfThrottled",
    to: "outcome === 'throttled' && failIfThrottled && stream === ''",
    noticedBy: 84,
  },
  {
    name: 'fail at the first throttle though nobody asked for it',
    file: 'producer/src/sender.ts',
    from: "outcome === 'throttled' && failIfThrottled",
    to: "outcome === 'throttled'",
    noticedBy: 2,
  },
  {
    name: 'reject all records of a request that was refused for one',
    file: 'producer/src/sender.ts',
    from: "outcome === 'fatal' && sentTogether > 1 &&",
    to: "outcome === 'fatal' && sentTogether > 500 &&",
    noticedBy: 36,
  },
  {
    name: 'hand back only what was never sent when a close is cut short',
    file: 'producer/src/producer.ts',
    from: 'if (this.#isCutShort) this.#undelivered',
    to: 'if (this.#isCutShort && error.attempts.length === 0) this.#undelivered',
    noticedBy: 29,
  },
  {
    name: 'tell of no record that expires in line',
    file: 'producer/src/producer.ts',
    from: '      if (error !== undefined) this.#onRejected(error, pending)\n    })',
    to: "      if (error?.code === 'ERR_CLOSED') this.#onRejected(error, pending)\n    })",
    noticedBy: 26,
  },
  {
    name: 'hand back a record without the stream that it was put to',
    file: 'producer/src/producer.ts',
    from: 'isNamed: stream !== this.#options.stream,',
    to: 'isNamed: false,',
    noticedBy: 24,
  },
  {
    name: 'let all of an aggregate expire with its oldest record',
    file: 'producer/src/sealed-record.ts',
    from: 'pending.arrivedMs + recordTtl > nowMs',
    to: 'pending.arrivedMs > nowMs',
    noticedBy: 48,
  },
  {
    name: 'put what is left of an expired aggregate behind what came later',
    file: 'producer/src/lane.ts',
    from: 'if (this.mode.ordered || rest[0] === sealed) return rest',
    to: 'if (rest[0] === sealed) return rest',
    noticedBy: 95,
  },
  {
    name: 'flush only what came since the last flush',
    file: 'producer/src/producer.ts',
    from: 'Promise.all([this.#earlier, closed])',
    to: 'closed',
    noticedBy: 12,
  },
  {
    name: 'forget the attempts before the last',
    file: 'producer/src/pending.ts',
    from: '(before) => [...before, attempt])',
    to: '() => [attempt])',
    noticedBy: 2,
  },
  {
    name: 'have one request more in flight than allowed',
    file: 'producer/src/sender.ts',
    from: 'this.#requests < this.#options.maxRequestsInFlight',
    to: 'this.#requests <= this.#options.maxRequestsInFlight',
    noticedBy: 4,
  },
  {
    name: 'wait for the description of a stream for ever',
    file: 'producer/src/stream-watch.ts',
    from: 'if (!this.#isDescriptionDecided) this.#goWithoutDescription(undefined)',
    to: '',
    noticedBy: 285,
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
    noticedBy: 7,
  },
  {
    name: 'hand a lease off while handlers still work on its records',
    file: 'consumer/src/shard-consumer.ts',
    from: 'const finished = await this.#progress.until(() => this.#queue.idle, patience, clock, closeTimeout)',
    to: 'const finished = patience !== undefined && clock !== undefined && closeTimeout >= 0',
    noticedBy: 446,
  },
  {
    name: 'end a shard while its last records are being handled',
    file: 'consumer/src/shard-consumer.ts',
    from: 'while (!this.#queue.empty) await this.#progress.wait(this.#stopping.signal)',
    to: '',
    noticedBy: 7,
  },
  {
    name: 'renew a lease without a condition',
    file: 'consumer/src/lease-changes.ts',
    from: 'when: heldBy(lease, worker),\n    set: { leaseCounter: number(lease.counter + 1), ...(checkpoint',
    to: 'when: [],\n    set: { leaseCounter: number(lease.counter + 1), ...(checkpoint',
    noticedBy: 20,
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
