import { expect, test } from 'vitest'
import { ANY_WORKER, type AtWrite } from './faults.ts'
import { SimulatedProcess } from './process.ts'
import { VirtualTime } from './virtual-time.ts'
import { WriteFaults } from './write-faults.ts'

const fault: AtWrite = { atMs: 0, place: 'worker-1', write: 'handoff', nth: 2, when: 'before' }

function processNamed(name: string): SimulatedProcess {
  return new SimulatedProcess({ time: new VirtualTime(() => 0), random: () => 0, name, clockRate: 1, wallOffsetMs: 0 })
}

function armed(given: AtWrite): { faults: WriteFaults; struck: string[] } {
  const faults = new WriteFaults()
  const struck: string[] = []
  faults.arm(given, ({ name }) => struck.push(name))
  return { faults, struck }
}

test('a fault strikes once, before the n-th write of its kind from its place', () => {
  const { faults, struck } = armed(fault)
  const process = processNamed('worker-1-3#4')
  expect(faults.sending(process, 'handoff')).toBeUndefined()
  expect(faults.sending(process, 'renew')).toBeUndefined()
  expect(faults.sending(processNamed('worker-10#1'), 'handoff')).toBeUndefined()
  faults.written(process, 'handoff')
  faults.sending(process, 'handoff')?.()
  expect(struck).toEqual(['worker-1-3#4'])
  expect(faults.sending(process, 'handoff')).toBeUndefined()
  expect(faults.struck).toBe(1)
})

test('a fault after a write strikes when the table has carried it out, whoever wrote it', () => {
  const { faults, struck } = armed({ ...fault, place: ANY_WORKER, nth: 1, when: 'after' })
  const process = processNamed('worker-2#1')
  expect(faults.sending(process, 'handoff')).toBeUndefined()
  faults.written(process, 'handoff')
  faults.written(process, 'handoff')
  expect(struck).toEqual(['worker-2#1'])
})

test('nothing strikes when all is calm', () => {
  const { faults, struck } = armed({ ...fault, nth: 1 })
  faults.disarm()
  expect(faults.sending(processNamed('worker-1#1'), 'handoff')).toBeUndefined()
  expect(struck).toEqual([])
})
