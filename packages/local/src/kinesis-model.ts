import { describeStream, describeStreamSummary } from './descriptions.ts'
import { getRecords, getShardIterator } from './reading.ts'
import { nullValue, optionalInteger, optionalString, type Request, requiredString } from './requests.ts'
import { invalidArgument, notFound, ServiceError, validation } from './service-error.ts'
import { listShards } from './shard-listing.ts'
import { Stream } from './stream.ts'
import { addTags, listTags } from './tags.ts'
import { putRecord, putRecords } from './writing.ts'

/** Time for the model: milliseconds since 1970. A test or a simulation passes its own. */
export interface ModelClock {
  wallMs(): number
}

export interface KinesisModelOptions {
  readonly clock: ModelClock
  /** Whether a shard has the service's limits of 1 MiB/s and 1,000 records/s in, 2 MiB/s and 5 calls/s out. */
  readonly limits: boolean
  /** Beyond so many bytes in a stream its oldest records are trimmed. */
  readonly retentionBytes: number
  /** Records older than this are trimmed. Default 24 hours. */
  readonly retentionMs?: number
}

type Operation = (model: KinesisModel, request: Request) => object

/** The most shards that may be asked for at once, which is UpdateShardCount's own bound (AWS API reference). */
const MAX_SHARDS = 10_000
const DEFAULT_RETENTION_MS = 24 * 3_600_000

/**
 * Kinesis Data Streams as plain state: streams, shards and records, driven by the clock it is given. No I/O; each
 * operation takes a request and gives an answer in the form of the AWS JSON protocol, with `Data` as bytes.
 *
 * @example
 * const model = new KinesisModel({ clock: { wallMs: () => 0 }, limits: false, retentionBytes: 2 ** 30 })
 * model.execute('CreateStream', { StreamName: 'orders', ShardCount: 4 })
 */
export class KinesisModel {
  readonly limits: boolean
  readonly #clock: ModelClock
  readonly #retentionBytes: number
  readonly #retentionMs: number
  readonly #streams = new Map<string, Stream>()

  constructor({ clock, limits, retentionBytes, retentionMs = DEFAULT_RETENTION_MS }: KinesisModelOptions) {
    this.#clock = clock
    this.limits = limits
    this.#retentionBytes = retentionBytes
    this.#retentionMs = retentionMs
  }

  get nowMs(): number {
    return this.#clock.wallMs()
  }

  /** @throws {ServiceError} as the service would answer */
  execute(operation: string, request: Request): object {
    const run = Object.hasOwn(OPERATIONS, operation) ? OPERATIONS[operation] : undefined
    if (run === undefined)
      throw new ServiceError('UnknownOperationException', `Operation ${operation} is not known here.`)
    return run(this, request)
  }

  /** The stream that a request names, by name or ARN; what is past its retention is trimmed first. */
  stream(request: Request): Stream {
    const arn = optionalString(request, 'StreamARN')
    const name = arn?.split(':stream/')[1] ?? optionalString(request, 'StreamName')
    if (name === undefined) throw nullValue('streamName')
    return this.streamNamed(name)
  }

  streamNamed(name: string): Stream {
    const stream = this.#streams.get(name)
    if (stream === undefined) throw notFound(`Stream ${name} under account 000000000000 not found.`)
    stream.trimBefore(this.nowMs - stream.retentionMs)
    return stream
  }

  createStream(request: Request): object {
    const name = requiredString(request, 'StreamName')
    if (!/^[a-zA-Z0-9_.-]{1,128}$/.test(name)) {
      throw validation(
        `Value '${name}' at 'streamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]{1,128}`,
      )
    }
    if (this.#streams.has(name)) {
      throw new ServiceError('ResourceInUseException', `Stream ${name} under account 000000000000 already exists.`)
    }
    const { StreamMode: mode } = Object(request.StreamModeDetails) as { StreamMode?: string }
    if (mode !== undefined && mode !== 'PROVISIONED' && mode !== 'ON_DEMAND') {
      throw validation(
        `Value '${mode}' at 'streamModeDetails.streamMode' failed to satisfy constraint: Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]`,
      )
    }
    const onDemand = mode === 'ON_DEMAND'
    const shardCount = optionalInteger(request, 'ShardCount', 1, MAX_SHARDS) ?? (onDemand ? 4 : undefined)
    if (shardCount === undefined) throw nullValue('shardCount')
    const stream = new Stream({
      name,
      shardCount,
      createdMs: this.nowMs,
      retentionBytes: this.#retentionBytes,
      retentionMs: this.#retentionMs,
      mode: onDemand ? 'ON_DEMAND' : 'PROVISIONED',
    })
    this.#streams.set(name, stream)
    return {}
  }

  deleteStream(request: Request): object {
    this.#streams.delete(this.stream(request).name)
    return {}
  }

  listStreams(request: Request): object {
    const limit = optionalInteger(request, 'Limit', 1, 10_000) ?? 100
    const after = optionalString(request, 'NextToken') ?? optionalString(request, 'ExclusiveStartStreamName') ?? ''
    const names = [...this.#streams.keys()].sort().filter((name) => name > after)
    const page = names.slice(0, limit)
    const hasMore = names.length > limit
    return {
      StreamNames: page,
      HasMoreStreams: hasMore,
      ...(hasMore && { NextToken: page.at(-1) }),
      StreamSummaries: page.map((name) => {
        const { arn, mode, createdMs } = this.#streams.get(name)!
        return {
          StreamName: name,
          StreamARN: arn,
          StreamStatus: 'ACTIVE',
          StreamModeDetails: { StreamMode: mode },
          StreamCreationTimestamp: createdMs / 1000,
        }
      }),
    }
  }
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  CreateStream: (model, request) => model.createStream(request),
  DeleteStream: (model, request) => model.deleteStream(request),
  ListStreams: (model, request) => model.listStreams(request),
  DescribeStream: (model, request) => describeStream(model.stream(request), request, model.nowMs),
  DescribeStreamSummary: (model, request) => describeStreamSummary(model.stream(request)),
  ListShards: listShards,
  AddTagsToStream: addTags,
  ListTagsForStream: listTags,
  PutRecord: putRecord,
  PutRecords: putRecords,
  GetShardIterator: getShardIterator,
  GetRecords: getRecords,
  SplitShard: (model, request) => {
    const stream = model.stream(request)
    const at = requiredString(request, 'NewStartingHashKey')
    if (!/^(0|[1-9]\d{0,38})$/.test(at)) throw invalidArgument(`NewStartingHashKey: expected a hash key, got ${at}`)
    stream.splitAsAsked(existingShard(stream, requiredString(request, 'ShardToSplit')), BigInt(at), model.nowMs)
    return {}
  },
  MergeShards: (model, request) => {
    const stream = model.stream(request)
    const shard = existingShard(stream, requiredString(request, 'ShardToMerge'))
    stream.merge(shard, existingShard(stream, requiredString(request, 'AdjacentShardToMerge')), model.nowMs)
    return {}
  },
  UpdateShardCount: (model, request) => {
    const stream = model.stream(request)
    const target = optionalInteger(request, 'TargetShardCount', 1, MAX_SHARDS)
    if (target === undefined) throw nullValue('targetShardCount')
    if (requiredString(request, 'ScalingType') !== 'UNIFORM_SCALING') {
      throw invalidArgument('ScalingType: expected UNIFORM_SCALING')
    }
    const current = stream.openShards.length
    stream.resize(target, model.nowMs)
    return { StreamName: stream.name, StreamARN: stream.arn, CurrentShardCount: current, TargetShardCount: target }
  },
}

function existingShard(stream: Stream, shardId: string): NonNullable<ReturnType<Stream['shard']>> {
  const shard = stream.shard(shardId)
  if (shard === undefined) {
    throw notFound(`Could not find shard ${shardId} in stream ${stream.name} under account 000000000000.`)
  }
  return shard
}
