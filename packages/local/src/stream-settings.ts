import { describeWarmThroughput } from './descriptions.ts'
import {
  oneOf,
  optionalString,
  type Request,
  requiredInteger,
  requiredString,
  requiredStrings,
  structure,
} from './requests.ts'
import type { Service } from './service.ts'
import { invalidArgument, limitExceeded, streamLabel } from './service-error.ts'
import type { Stream } from './stream.ts'
import { checkActive, MODES, setStrategy } from './streams.ts'

const HOUR_MS = 3_600_000
const MIN_RETENTION_HOURS = 24
const MAX_RETENTION_HOURS = 8_760
const MODE_CHANGES_A_DAY = 2
const ENCRYPTION_CHANGES_A_DAY = 25
const SHARD_METRICS = [
  'IncomingBytes',
  'IncomingRecords',
  'OutgoingBytes',
  'OutgoingRecords',
  'WriteProvisionedThroughputExceeded',
  'ReadProvisionedThroughputExceeded',
  'IteratorAgeMilliseconds',
] as const

export function increaseRetention(_service: Service, stream: Stream, request: Request): object {
  const { hours, currentHours } = retentionOf(stream, request)
  if (hours < currentHours)
    throw invalidArgument(`${contradiction(stream, hours, currentHours)} shorter than it is now.`)
  stream.retentionMs = hours * HOUR_MS
  return {}
}

export function decreaseRetention(_service: Service, stream: Stream, request: Request): object {
  const { hours, currentHours } = retentionOf(stream, request)
  if (hours > currentHours)
    throw invalidArgument(`${contradiction(stream, hours, currentHours)} longer than it is now.`)
  stream.retentionMs = hours * HOUR_MS
  return {}
}

function retentionOf(stream: Stream, request: Request): { hours: number; currentHours: number } {
  checkActive(stream)
  const hours = requiredInteger(request, 'RetentionPeriodHours', Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER)
  if (hours < MIN_RETENTION_HOURS) {
    throw invalidArgument(
      `Minimum allowed retention period is ${MIN_RETENTION_HOURS} hours. Requested retention period (${hours} hours) is too short.`,
    )
  }
  if (hours > MAX_RETENTION_HOURS) {
    throw invalidArgument(
      `Maximum allowed retention period is ${MAX_RETENTION_HOURS} hours. Requested retention period (${hours} hours) is too long.`,
    )
  }
  return { hours, currentHours: stream.retentionMs / HOUR_MS }
}

function contradiction(stream: Stream, hours: number, currentHours: number): string {
  return `Requested retention period (${hours} hours) for ${streamLabel(stream.name)}, which has ${currentHours} hours, can not be`
}

export function updateMaxRecordSize(_service: Service, stream: Stream, request: Request): object {
  checkActive(stream)
  stream.maxRecordKiB = requiredInteger(request, 'MaxRecordSizeInKiB', 1024, 10_240)
  return {}
}

export function updateStreamMode(service: Service, stream: Stream, request: Request): object {
  requiredString(request, 'StreamARN')
  checkActive(stream)
  const mode = oneOf('StreamMode', optionalString(structure(request, 'StreamModeDetails'), 'StreamMode'), MODES)
  if (mode === stream.mode) return {}
  if (!service.dailyLimits.admits('UpdateStreamMode', stream, MODE_CHANGES_A_DAY)) {
    throw limitExceeded(
      `${streamLabel(stream.name)} has changed its mode ${MODE_CHANGES_A_DAY} times within the last 24 hours, which is the limit.`,
    )
  }
  stream.mode = mode
  if (mode === 'PROVISIONED') stream.distribution = 'USER_PARTITION_KEY'
  return {}
}

export function updateDistribution(_service: Service, stream: Stream, request: Request): object {
  requiredString(request, 'StreamARN')
  checkActive(stream)
  setStrategy(stream, requiredString(request, 'RecordDistributionStrategy'))
  return {}
}

export function updateWarmThroughput(_service: Service, stream: Stream, request: Request): object {
  checkActive(stream)
  stream.warmThroughputMiBps = requiredInteger(request, 'WarmThroughputMiBps', 0, 10_240)
  return { StreamARN: stream.arn, StreamName: stream.name, WarmThroughput: describeWarmThroughput(stream) }
}

/** Only said, not done: nothing here is encrypted. */
export function startEncryption(service: Service, stream: Stream, request: Request): object {
  stream.keyId = changedKey(service, 'StartStreamEncryption', stream, request)
  return {}
}

export function stopEncryption(service: Service, stream: Stream, request: Request): object {
  changedKey(service, 'StopStreamEncryption', stream, request)
  stream.keyId = undefined
  return {}
}

function changedKey(service: Service, operation: string, stream: Stream, request: Request): string {
  checkActive(stream)
  oneOf('EncryptionType', optionalString(request, 'EncryptionType'), ['KMS'])
  const keyId = requiredString(request, 'KeyId')
  if (service.dailyLimits.admits(operation, stream, ENCRYPTION_CHANGES_A_DAY)) return keyId
  throw limitExceeded(`${operation} is possible ${ENCRYPTION_CHANGES_A_DAY} times within 24 hours.`)
}

/** Only remembered: nothing here is measured. */
export function enableMonitoring(_service: Service, stream: Stream, request: Request): object {
  const asked = metricsOf(request)
  return changeMetrics(stream, [...new Set([...stream.shardMetrics, ...asked])])
}

export function disableMonitoring(_service: Service, stream: Stream, request: Request): object {
  const asked = metricsOf(request)
  return changeMetrics(
    stream,
    [...stream.shardMetrics].filter((metric) => !asked.includes(metric)),
  )
}

function metricsOf(request: Request): readonly string[] {
  const asked = requiredStrings(request, 'ShardLevelMetrics').map((metric) =>
    oneOf('ShardLevelMetrics', metric, [...SHARD_METRICS, 'ALL']),
  )
  return asked.includes('ALL') ? SHARD_METRICS : asked
}

function changeMetrics(stream: Stream, desired: readonly string[]): object {
  const current = [...stream.shardMetrics]
  stream.shardMetrics.clear()
  for (const metric of desired) stream.shardMetrics.add(metric)
  return {
    StreamName: stream.name,
    StreamARN: stream.arn,
    CurrentShardLevelMetrics: current,
    DesiredShardLevelMetrics: desired,
  }
}
