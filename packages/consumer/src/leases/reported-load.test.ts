import { silentLogger } from '@shardwise/core'
import { ManualClock } from '@shardwise/core/testing'
import { beforeEach, expect, test } from 'vitest'
import { MemoryTable } from '../../test/memory-table.ts'
import { Telemetry } from '../telemetry/telemetry.ts'
import { ReportedLoad } from './reported-load.ts'
import type { Item, ItemKind } from './table.ts'

const LOADS: Item = { sts: { M: { C: { L: [{ N: '12.5' }] } } }, opr: { M: { C: { L: [{ N: '100' }] } } } }
const lockOf = (ownerName: string): Item => ({ leaseKey: { S: 'Leader' }, ownerName: { S: ownerName } })

class CountingTable extends MemoryTable {
  reads = 0

  override read(kind: ItemKind, key: string): Promise<Item | undefined> {
    this.reads++
    return super.read(kind, key)
  }
}

let table: CountingTable
let clock: ManualClock
let load: ReportedLoad

beforeEach(() => {
  table = new CountingTable()
  clock = new ManualClock()
  load = new ReportedLoad({
    table,
    clock,
    telemetry: new Telemetry(silentLogger, undefined, {}),
    workerId: 'me',
    measure: () => ({ sample: () => [42] }),
  })
  table.items.set('java', LOADS)
  table.items.set('elsewhere', { sts: { M: {} }, opr: { M: {} } })
  table.items.set('ours', { ...LOADS, shardwisePeriodMs: { N: '5000' } })
})

test('the load is told to a KCL that goes by it, and to nobody else', async () => {
  expect(load.sample()).toEqual([])
  await load.follow(lockOf('java'))
  expect(load.sample()).toEqual([42])
  await load.follow(lockOf('elsewhere'))
  expect(load.sample()).toEqual([])
  await load.follow(lockOf('ours'))
  expect(load.sample()).toEqual([])
  await load.follow(lockOf('unknown'))
  expect(load.sample()).toEqual([])
})

test('a leader is looked at once a minute, oneself never', async () => {
  await load.follow(lockOf('java'))
  await load.follow(lockOf('java'))
  expect(table.reads).toBe(1)
  await clock.advance(60_000)
  await load.follow(lockOf('java'))
  expect(table.reads).toBe(2)
  await load.follow(lockOf('me'))
  await load.follow(undefined)
  expect(table.reads).toBe(2)
})
