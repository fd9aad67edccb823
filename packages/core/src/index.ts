export { type Backoff, backoffMs, type Random } from './backoff.ts'
export { type Clock, systemClock } from './clock.ts'
export {
  type Codec,
  CodecError,
  type CodecErrorOptions,
  type Decoder,
  decoder,
  decoderOf,
  type Encoder,
  encoder,
  encoderOf,
  type TraceContext,
} from './codec.ts'
export { ShardwiseError, type ShardwiseErrorOptions } from './errors.ts'
export { createFanOutClient } from './fan-out-client.ts'
export { createKinesisClient } from './kinesis-client.ts'
export { defaultLogger, type Logger, silentLogger } from './logger.ts'
export {
  boolean,
  checkOptions,
  func,
  integerFrom,
  nonEmptyString,
  numberFrom,
  type OptionCheck,
  type OptionChecks,
  OptionError,
  objectWith,
  oneOf,
} from './options.ts'
export { orAborted } from './or-aborted.ts'
export { classifyError, classifyRecordError, errorCode, type Outcome } from './outcome.ts'
export { pause } from './pause.ts'
export { type RetryOptions, retry } from './retry.ts'
export { type ListShardsOptions, listShards, type Shard } from './shards.ts'
export {
  describeStream,
  type Kinesis,
  type StreamDescription,
  type StreamReference,
  streamReference,
} from './stream.ts'
export { timedKinesis } from './timed-kinesis.ts'
