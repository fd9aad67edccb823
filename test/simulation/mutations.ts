import type { Mutation } from './mutation.ts'
import { processing } from './mutations-of-processing.ts'
import { producing } from './mutations-of-producing.ts'
import { reading } from './mutations-of-reading.ts'

/** Mistakes that somebody could make, each against a promise that only a run as a whole can show broken. */
export const mutations: readonly Mutation[] = [...producing, ...reading, ...processing]
