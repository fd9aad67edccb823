import type { Decoder, Kinesis } from '@shardwise/core'
import { Fleet } from './leases/fleet.ts'
import { Parents } from './leases/parents.ts'
import type { Table } from './leases/table.ts'
import type { ResolvedOptions } from './options.ts'
import { handlerOf } from './processing/handler.ts'
import { HandlerPool } from './processing/handler-pool.ts'
import { Pauses } from './processing/pauses.ts'
import { ShardConsumer } from './processing/shard-consumer.ts'
import { PollingReader } from './retrieval/polling-reader.ts'
import { ReadAhead } from './retrieval/read-ahead.ts'
import type { ReaderOf } from './retrieval/shard-reader.ts'
import { SharedListing } from './retrieval/shared-listing.ts'
import { batchLimitsOf, type Handlers } from './run-options.ts'
import { DescribedStream, type StreamFacts } from './streams/described-stream.ts'
import type { StreamSource } from './streams/stream-source.ts'
import type { Streams } from './streams/streams.ts'
import type { StreamTelemetry, Telemetry } from './telemetry/telemetry.ts'

export interface FleetParts {
  readonly table: Table
  readonly kinesis: Kinesis
  readonly streams: Streams
  readonly options: ResolvedOptions
  readonly telemetry: Telemetry
  /** Which shards may begin nothing new. Default: none is paused. */
  readonly pauses?: Pauses | undefined
  /** Default: asks the stream. */
  readonly factsOf?: ((source: StreamSource) => StreamFacts) | undefined
  /** Makes what makes the readers of a stream's shards. Default: they poll. */
  readonly readersOf?: ((source: StreamSource) => ReaderOf) | undefined
}

/** A child is started within this time after its parents have ended. */
const MAX_PARENT_POLL_MS = 1_000

/** What all shards of a stream share. */
interface StreamContext {
  readonly source: StreamSource
  readonly telemetry: StreamTelemetry
  readonly facts: StreamFacts
  readonly listing: SharedListing
  readonly readerOf: ReaderOf
}

/** The parts of a worker. */
export interface Worker {
  readonly fleet: Fleet<ShardConsumer>
  readonly pool: HandlerPool
}

/** Puts a worker together: the fleet finds leases, a shard consumer lives for each, one pool runs all handlers. */
export function createFleet<Value>(
  handlers: Handlers<Value>,
  {
    table,
    kinesis,
    streams,
    options,
    telemetry,
    pauses = new Pauses(),
    factsOf = askingFor(kinesis, options),
    readersOf = () => (of) => new PollingReader(of),
  }: FleetParts,
): Worker {
  const { failoverTime, codec } = options
  const pool = new HandlerPool(handlerOf(handlers, codec as Decoder<Value> | undefined), options)
  const context = {
    ...options,
    table,
    kinesis,
    pool,
    hooks: handlers,
    batch: batchLimitsOf(handlers),
    pauses,
    parents: new Parents(table),
    isRefusalFinal: () => isRefusalFinal(),
    parentPollMs: Math.min(MAX_PARENT_POLL_MS, failoverTime / 10),
    readAhead: new ReadAhead(options),
    onFailure: (doing: string, error: unknown) => telemetry.emit({ type: 'callFailed', doing, error }),
  }
  let hasRead = false
  const isRefusalFinal = (): boolean => {
    // What could be read before, and one of several streams that may not be read, is no reason to stop reading the others.
    hasRead ||= fleet.shards.some((shard) => shard.hasRead)
    return !streams.areSeveral && !hasRead
  }
  // By source, not by name: a stream that was made anew is another one.
  const contexts = new WeakMap<StreamSource, StreamContext>()
  const contextOf = (source: StreamSource): StreamContext => {
    let found = contexts.get(source)
    if (found === undefined) {
      found = {
        source,
        telemetry: telemetry.of(source.stream),
        facts: factsOf(source),
        listing: new SharedListing({ ...options, kinesis, stream: source.stream }),
        readerOf: readersOf(source),
      }
      contexts.set(source, found)
    }
    return found
  }
  const fleet: Fleet<ShardConsumer> = new Fleet({
    ...options,
    streams,
    table,
    kinesis,
    telemetry,
    consume: (holder, source) => new ShardConsumer(holder, { ...context, ...contextOf(source) }),
  })
  return { fleet, pool }
}

function askingFor(kinesis: Kinesis, options: ResolvedOptions): (source: StreamSource) => StreamFacts {
  return ({ stream }) => new DescribedStream({ ...options, kinesis, stream })
}
