package org.libmusig

import com.sun.jna.CallbackThreadInitializer
import com.sun.jna.Native
import org.libmusig.ffi.uniffiCallbackInterfaceBroadcaster
import org.libmusig.ffi.uniffiCallbackInterfaceChainObserver
import org.libmusig.ffi.uniffiCallbackInterfaceLogSink
import org.libmusig.ffi.uniffiCallbackInterfaceSigner
import org.libmusig.ffi.uniffiRustFutureContinuationCallbackImpl

/**
 * The library's threads live long, so that they stay known to the JVM between two calls: a call costs a third of what it
 * does when JNA attaches and detaches its thread each time. As daemons, so that a node that nobody closed does not keep
 * the process alive.
 */
internal object CallbackThreads {
    init {
        val initializer = CallbackThreadInitializer(true, false)
        for (callback in listOf(
            uniffiRustFutureContinuationCallbackImpl,
            uniffiCallbackInterfaceBroadcaster.submit,
            uniffiCallbackInterfaceChainObserver.status,
            uniffiCallbackInterfaceLogSink.log,
            uniffiCallbackInterfaceSigner.publicKey,
            uniffiCallbackInterfaceSigner.sign,
            uniffiCallbackInterfaceSigner.makeNonces,
            uniffiCallbackInterfaceSigner.makePartials,
            uniffiCallbackInterfaceSigner.forget,
        )) {
            Native.setCallbackThreadInitializer(callback, initializer)
        }
    }

    /** Runs the above, once. */
    fun prepare() = Unit
}
