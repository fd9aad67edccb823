import type { Position } from '@shardwise/records'
import type { Progress } from '../src/leases/lease-changes.ts'

/** A heartbeat, with the checkpoint if one is given. */
export const beat = (checkpoint?: Position): Progress => ({ checkpoint, throughputKBps: 0 })
